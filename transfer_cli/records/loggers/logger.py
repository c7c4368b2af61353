"""What a logger is told, in a thread of its own: it may take long or fail, which costs the run nothing."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from transfer_cli.files import parsed_json, write_json

IDS = "loggers.json"
"""In the run directory: what the run is called elsewhere, by logger, so that a resumed run goes on there."""


@dataclass(frozen=True)
class Run:
    """A run as loggers see it."""

    directory: Path
    settings: Mapping[str, Any]
    """Dotted keys and plain values."""
    first_step: int
    """Steps that were logged before, by a run that was stopped."""

    @property
    def name(self) -> str:
        """That of its directory."""
        return self.directory.name

    @property
    def sweep(self) -> Path | None:
        """The folder of the sweep that it is a job of."""
        parent = self.directory.parent
        return parent if (parent / "jobs.json").is_file() else None

    @property
    def output_dir(self) -> Path:
        """Where runs of all kinds lie."""
        return self.directory.parent.parent.parent if self.sweep else self.directory.parent.parent

    def id_of(self, logger: str) -> str | None:
        """What it is called there, where it was logged before."""
        return self._ids().get(logger)

    def keep_id(self, logger: str, name: str) -> None:
        """Remember what it is called there. Raises OSError."""
        write_json(self.directory / IDS, {**self._ids(), logger: name})

    def _ids(self) -> dict[str, str]:
        try:
            found = parsed_json((self.directory / IDS).read_text(encoding="utf-8"))
            return {str(logger): str(name) for logger, name in found.items()}
        except (OSError, ValueError, AttributeError):
            return {}

    def artifacts(self) -> list[Path]:
        """What is worth keeping of a run that ended, but its weights, which are large and lie here."""
        names = ("config.yaml", "summary.json", "environment.json", "dataset.json", "predictions.csv", "parameters.csv")
        pictures = sorted((self.directory / "plots").glob("*.png"))
        return [*(path for name in names if (path := self.directory / name).is_file()), *pictures]


class Logger(Protocol):
    """Writes a run down somewhere. Whatever it raises ends the logging with a warning, and nothing else."""

    @property
    def remote(self) -> bool:
        """Whether it writes to another machine, which may not answer."""
        ...

    def begins(self, run: Run) -> bool:
        """The run starts or goes on; returns whether all that was before is unknown here."""
        ...

    def scores(self, step: int, epoch: int, values: Mapping[str, float]) -> None:
        """Of an epoch: `val/accuracy` and the like."""
        ...

    def ends(self, run: Run, status: str, summary: Mapping[str, float]) -> None:
        """The run is over; `status` as its summary has it."""
        ...


def numbers(scores: Mapping[str, Any] | None, prefix: str) -> dict[str, float]:
    """The finite scores of a split under their names with a prefix."""
    found = {f"{prefix}/{name}": value for name, value in (scores or {}).items()}
    return {
        name: float(value) for name, value in found.items() if isinstance(value, int | float) and math.isfinite(value)
    }
