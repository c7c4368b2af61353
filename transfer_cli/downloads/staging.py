"""A data set that is on its way, in a hidden folder beside its place: it is found only once it is complete."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from transfer_cli.errors import RunError, UserError

_COMPLETE = ".complete"
_WAIT_SECONDS = 3600
_ARCHIVES = (".tar", ".tgz", ".zip", ".gz")
_AS_DOWNLOADED = (".mat",)


class Staging:
    """`.<name>.partial` in the folder `root` that is to hold the set; what a killed process left there is used."""

    def __init__(self, root: Path, name: str) -> None:
        self._root, self._name, self.folder = root, name, root / f".{name}.partial"

    def is_complete(self) -> bool:
        """Whether all was there, and a process was killed while it moved it to its place."""
        return (self.folder / _COMPLETE).is_file()

    def prepare(self) -> None:
        """Make the folder, and clear it of all that an earlier attempt may have extracted in part. Raises OSError."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._remove(lambda name: not name.removesuffix(".partial").endswith((*_ARCHIVES, *_AS_DOWNLOADED)))

    def drop_archives(self) -> None:
        """Remove archives, which are extracted by now. Raises OSError."""
        self._remove(is_archive)

    def _remove(self, unwanted: Callable[[str], bool]) -> None:
        """Remove files by their names, and folders that are empty: to torchvision a folder is a set."""
        for folder, _, names in os.walk(self.folder, topdown=False):
            for name in filter(unwanted, names):
                os.unlink(os.path.join(folder, name))
            if folder != str(self.folder) and not os.listdir(folder):
                os.rmdir(folder)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Other processes that bring the same set wait here. What is empty in the end goes.

        Raises UserError where the folder cannot be written, RunError where the disk fails later, or where another
        process has the set for too long.
        """
        from filelock import FileLock, Timeout

        path, made = self._root / f".{self._name}.lock", not self._root.exists()
        lock = FileLock(path)
        try:
            self._root.mkdir(parents=True, exist_ok=True)
            lock.acquire(timeout=_WAIT_SECONDS)
        except Timeout as error:
            raise RunError(f"{path}: another process has it and does not end; end that one first.") from error
        except OSError as error:
            raise UserError(f"{self._root} cannot be written: {error.strerror}.") from error
        try:
            yield
        except OSError as error:
            raise RunError(f"{self._root}: {self._name} cannot be put there ({error.strerror or error}).") from error
        finally:
            path.unlink(missing_ok=True)
            lock.release()
            with suppress(OSError):
                self._remove(lambda name: False)
                self.folder.rmdir()
            with suppress(OSError):
                if made:
                    self._root.rmdir()

    def settle(self, marker: str) -> None:
        """Move all to its place, by renames; last `marker`, the entry by which the set is found. Raises OSError."""
        if not self.folder.exists():
            return
        if not self.is_complete():
            _sync()
            (self.folder / _COMPLETE).touch()
        names = [name for name in os.listdir(self.folder) if name != _COMPLETE]
        for name in sorted(names, key=lambda name: (name == marker.split("/")[0], name)):
            _move(self.folder / name, self._root / name)
        shutil.rmtree(self.folder)


def is_archive(name: str) -> bool:
    """Whether a file is what a set was extracted from, and no more needed."""
    return name.endswith(_ARCHIVES)


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
