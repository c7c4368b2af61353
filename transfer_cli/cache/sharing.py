"""A cache that several users share: whoever may write its folder may write what is in it, as they wish."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from filelock import BaseFileLock

LOCKS = ".locks"
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
_FOR_ALL = 0o666


def make_folder(root: Path, folder: Path) -> None:
    """A folder below the cache's root, open to those to whom the root is open. Raises OSError."""
    root.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileExistsError):
        folder.mkdir()
        mode = stat.S_IMODE(root.stat().st_mode)
        if mode & _OTHERS_WRITE:
            # Not sticky: Linux lets nobody open the lock of somebody else in a sticky folder.
            folder.chmod(mode & ~stat.S_ISVTX)


def lock(root: Path, name: str, folder: Path | None = None) -> BaseFileLock:
    """The lock of one thing in the cache, for all who may write there. Raises OSError for those who may not.

    `folder`: where its file is to be, one below the root; else with all others.
    """
    from filelock import FileLock

    folder = root / LOCKS if folder is None else folder
    make_folder(root, folder)
    path = folder / f"{name}.lock"
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path.parent))
    return FileLock(path, mode=_FOR_ALL if is_shared(root) else 0o644)


def taken_at_once(lock: BaseFileLock) -> bool:
    """Whether a lock is this process's now; nobody is waited for. Raises OSError."""
    from filelock import Timeout

    try:
        lock.acquire(blocking=False)
    except Timeout:
        return False
    return True


def is_shared(root: Path) -> bool:
    """Whether other users may write what is in the cache."""
    return bool(root.stat().st_mode & _OTHERS_WRITE)


def share(root: Path, file: Path) -> None:
    """Let whoever may write the cache go on with a file of it."""
    if is_shared(root):
        with contextlib.suppress(OSError):
            file.chmod(_FOR_ALL)
