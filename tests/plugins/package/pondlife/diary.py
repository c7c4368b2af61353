"""A logger: told of a run's start, its epochs and its end, in a thread of its own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from transfer_cli.records.loggers.logger import Run


class Diary:
    """Keeps a line an epoch."""

    remote = False

    def __init__(self) -> None:
        self._file = Path()

    def begins(self, run: Run) -> bool:
        """The diary lies in the run directory."""
        self._file = run.directory / "diary.txt"
        return True

    def scores(self, step: int, epoch: int, values: Mapping[str, float]) -> None:
        """The accuracy on validation."""
        with self._file.open("a") as file:
            file.write(f"{epoch} {values.get('val/accuracy')}\n")

    def ends(self, run: Run, status: str, summary: Mapping[str, float]) -> None:
        """The end."""
        with self._file.open("a") as file:
            file.write(f"{status}\n")
