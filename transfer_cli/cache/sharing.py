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


def make_folder(root: Path, folder: Path) -> None:
    """A folder below the cache's root, open to those to whom the root is open. Raises OSError."""
    root.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileExistsError):
        folder.mkdir()
        mode = stat.S_IMODE(root.stat().st_mode)
        if mode & _OTHERS_WRITE:
            # Not sticky: Linux lets nobody open the lock of somebody else in a sticky folder.
            folder.chmod(mode & ~stat.S_ISVTX)


def lock(root: Path, name: str) -> BaseFileLock:
    """The lock of one thing in the cache, for all who may write there. Raises OSError for those who may not."""
    from filelock import FileLock

    make_folder(root, root / LOCKS)
    shared = bool(root.stat().st_mode & _OTHERS_WRITE)
    path = root / LOCKS / f"{name}.lock"
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path.parent))
    return FileLock(path, mode=0o666 if shared else 0o644)
