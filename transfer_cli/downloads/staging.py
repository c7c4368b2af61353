"""A data set that is on its way, in a hidden folder beside its place: it is found only once it is complete."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from transfer_cli.errors import RunError

_COMPLETE = ".complete"


class Staging:
    """`.<name>.partial` in the folder `root` that is to hold the set; what a killed process left there is used."""

    def __init__(self, root: Path, name: str) -> None:
        self._root, self.folder = root, root / f".{name}.partial"

    def is_complete(self) -> bool:
        """Whether all was there, and a process was killed while it moved it to its place."""
        return (self.folder / _COMPLETE).is_file()

    def settle(self, marker: str) -> None:
        """Move all to its place, by renames; last `marker`, the entry by which the set is found.

        Raises RunError where the disk fails.
        """
        try:
            if not self.is_complete():
                _sync()
                (self.folder / _COMPLETE).touch()
            names = [name for name in os.listdir(self.folder) if name != _COMPLETE]
            for name in sorted(names, key=lambda name: (name == marker.split("/")[0], name)):
                _move(self.folder / name, self._root / name)
            shutil.rmtree(self.folder)
        except OSError as error:
            raise RunError(f"{self._root}: the set cannot be put there ({error.strerror or error}).") from error


def _move(source: Path, target: Path) -> None:
    """One rename where nothing is in the way, else one for each file below."""
    if source.is_dir() and target.is_dir():
        for name in sorted(os.listdir(source)):
            _move(source / name, target / name)
        source.rmdir()
    else:
        os.replace(source, target)


def _sync() -> None:
    """Let all that was written survive a power cut: one call, for there may be a hundred thousand files."""
    if os.name != "nt":
        os.sync()
