"""Files that one process at a time holds; the system takes them back from a process that dies."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from transfer_cli.errors import UserError

FOREVER = -1.0
_NO_RIGHT = (errno.EACCES, errno.EPERM, errno.EROFS)


@contextmanager
def locked(path: Path, patience_seconds: float = 0.0) -> Iterator[bool]:
    """Hold a lock until the block ends; False where another process has it for as long as this one is patient.

    Raises UserError where it cannot be one: a folder in its place, a disk that takes no more.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(path, timeout=patience_seconds)
    try:
        lock.acquire()
    except Timeout:
        yield False
        return
    except OSError as error:
        if error.errno in _NO_RIGHT and not path.is_dir():
            raise UserError(
                f"{path.parent}: nothing can be written there ({error.strerror}). Use a copy of it where you may "
                "write, or change its rights."
            ) from error
        raise UserError(
            f"{path}: cannot be used as a lock ({error.strerror}). Remove it, or choose another name."
        ) from error
    try:
        yield True
    finally:
        lock.release()
