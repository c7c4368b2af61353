"""Where the cache is, and how large it may grow."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from transfer_cli.cache.entries import Cache

MOST_AUTO_BYTES = 100 * 2**30


def open_cache(cache_dir: str, cache_size: float | str, warn: Callable[[str], None]) -> Cache:
    """The cache of this user. `cache_size` is in GiB; `auto` is half of what is free or already its, up to 100 GiB."""
    root = cache_folder(cache_dir)
    if not isinstance(cache_size, str):
        return Cache(root, int(cache_size * 2**30), warn)
    used = sum(entry.bytes for entry in Cache(root, 0).entries())
    return Cache(root, min(MOST_AUTO_BYTES, (free_bytes(root) + used) // 2), warn)


def cache_folder(cache_dir: str) -> Path:
    """`cache_dir` as a path; `auto` is the user's cache folder."""
    import platformdirs

    return Path(platformdirs.user_cache_dir("transfer-run")) if cache_dir == "auto" else Path(cache_dir)


def free_bytes(folder: Path) -> int:
    """Free space where `folder` is, or will be."""
    existing = next(parent for parent in [folder.absolute(), *folder.absolute().parents] if parent.exists())
    return shutil.disk_usage(existing).free
