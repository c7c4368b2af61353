"""A file that is on its way: written by one process at a time, left for the next attempt, renamed when it is whole."""

from __future__ import annotations

import errno
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import FileIO
from pathlib import Path

from transfer_cli.errors import RunError, UserError
from transfer_cli.files import fsync_directory

SILENCE_SECONDS = 120.0
_POLL_SECONDS = 0.1


class Partial:
    """`<name>.partial` beside the file that it becomes, open for this process alone."""

    def __init__(self, path: Path, becomes: Path, file: FileIO) -> None:
        self.path, self._becomes, self._file = path, becomes, file
        self._is_there = True

    def size(self) -> int:
        """Bytes that are there, from this process or from one before it."""
        return os.fstat(self._file.fileno()).st_size

    def cut(self, size: int = 0) -> None:
        """Leave the first `size` bytes; what is written next comes behind them."""
        self._file.truncate(size)
        self._file.seek(size)

    def need(self, size: int) -> None:
        """Raises RunError where so many bytes do not fit on the disk, before any of them is written."""
        free = shutil.disk_usage(self.path.parent).free
        if size > free:
            raise RunError(
                f"{self._becomes}: {megabytes(size)} more do not fit, {megabytes(free)} of its disk are free. "
                "Make room and run the same command again."
            )

    def write(self, block: bytes) -> None:
        """Append a block. A full disk is RunError, and this file goes, for it would keep the disk full."""
        try:
            rest = memoryview(block)
            while rest:
                rest = rest[self._file.write(rest) :]
        except OSError as error:
            self.drop()
            raise RunError(f"{self._becomes} cannot be written: {error.strerror}. Nothing of it is kept.") from error

    def done(self, *, durable: bool = True) -> None:
        """The file appears, whole, under its own name; `durable`: a power cut included."""
        try:
            if durable:
                os.fsync(self._file.fileno())
            os.replace(self.path, self._becomes)
            self._is_there = False
            if durable:
                fsync_directory(self._becomes.parent)
        except OSError as error:
            raise RunError(f"{self._becomes} cannot be written: {error.strerror}.") from error

    def drop(self) -> None:
        """Forget what was written."""
        if self._is_there:
            self._is_there = False
            self.path.unlink(missing_ok=True)


@contextmanager
def partial(becomes: Path) -> Iterator[Partial]:
    """The unfinished `becomes`, empty or as it was left; another process that writes it is waited for.

    Raises UserError where its folder cannot be written, RunError where the other process has stopped to make progress.
    """
    path = becomes.with_name(f"{becomes.name}.partial")
    try:
        becomes.parent.mkdir(parents=True, exist_ok=True)
        file = _open_alone(path)
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        message = f"{becomes} cannot be written: {error.strerror}."
        raise (RunError(message) if full else UserError(message)) from error
    with file:
        unfinished = Partial(path, becomes, file)
        try:
            yield unfinished
        finally:
            if not unfinished.size():
                unfinished.drop()


def _open_alone(path: Path) -> FileIO:
    """Open without changing it, and locked: the lock goes with the process. Raises OSError."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o666)
        # Unbuffered: what a full disk does not take is not tried again when the file is closed.
        file = os.fdopen(descriptor, "r+b", buffering=0)
        try:
            _lock(file, path)
            with suppress(FileNotFoundError):
                # Else whoever held the lock has renamed or removed the file that was opened here.
                if os.path.samestat(os.fstat(descriptor), os.lstat(path)):
                    file.seek(0, os.SEEK_END)
                    return file
        except BaseException:
            file.close()
            raise
        file.close()


def _lock(file: FileIO, path: Path) -> None:
    """Wait for the lock as long as whoever has it makes progress. A file system without locks has to do without."""
    if os.name == "nt":
        return
    import fcntl

    size, since = -1, time.monotonic()
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            now = os.fstat(file.fileno()).st_size
            if now != size:
                size, since = now, time.monotonic()
            if time.monotonic() - since > SILENCE_SECONDS:
                raise RunError(f"{path}: another process has it and does not go on; end that one first.") from None
            time.sleep(_POLL_SECONDS)
        except OSError:
            return


def megabytes(size: int) -> str:
    """Bytes as `12.3 MB`."""
    return f"{size / 1e6:,.1f} MB"
