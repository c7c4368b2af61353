"""Content-addressed entries: a folder each, complete or absent, shared by concurrent jobs, capped in size.

An entry's address is the hash of its key, a plain dictionary of all that determines its bytes. A filler builds it
under a temporary name while others that want the same entry wait for it, and renames it when it is complete.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transfer_cli.files import file_sha256, fsync_directory

ABOUT = "entry.json"
_LOCKS = ".locks"
_UNFINISHED = ".filling-"
_ABANDONED_SECONDS = 3600.0

Key = dict[str, Any]


@dataclass(frozen=True)
class Entry:
    """One entry on disk."""

    kind: str
    path: Path
    key: Key
    bytes: int
    used: float
    """Seconds since 1970 of the last use."""


class Cache:
    """Entries below `root`, at most `max_bytes` together: the least recently used goes first. Counts its look-ups."""

    def __init__(self, root: Path, max_bytes: int) -> None:
        self.root, self.max_bytes = root, max_bytes
        self.hits = self.misses = 0

    def get(self, kind: str, key: Key) -> Path | None:
        """The folder of an entry, marked as just used; None if it is not there."""
        path = self._path(kind, key)
        found = _is_whole(path)
        self.hits += found
        self.misses += not found
        if found:
            _touch(path)
        return path if found else None

    def has(self, kind: str, key: Key) -> bool:
        """Whether an entry is there; neither counted nor marked as used."""
        return _is_whole(self._path(kind, key))

    def fill(self, kind: str, key: Key, build: Callable[[Path], None]) -> Path:
        """The folder of an entry; if it is not there, `build` makes its files in an empty folder.

        One process builds; others that want the same entry wait and get that one. Raises what `build` raises, with
        nothing left behind, and OSError where the disk is full.
        """
        from filelock import FileLock

        path = self._path(kind, key)
        locks = self.root / _LOCKS
        locks.mkdir(parents=True, exist_ok=True)
        with FileLock(locks / f"{kind}-{path.name}.lock"):
            if not _is_whole(path):
                self._build(path, key, build)
        _touch(path)
        self.evict(keep=path)
        return path

    def entries(self) -> list[Entry]:
        """All whole entries, the least recently used first."""
        found = [entry for path in self._folders() if (entry := _read_entry(path)) is not None]
        return sorted(found, key=lambda entry: (entry.used, str(entry.path)))

    def evict(self, keep: Path | None = None) -> list[Entry]:
        """Delete the least recently used entries until the rest fits, and what killed processes left; returns those."""
        for folder in self.root.glob(f"*/{_UNFINISHED}*"):
            if _age_seconds(folder) > _ABANDONED_SECONDS:
                shutil.rmtree(folder, ignore_errors=True)
        entries = self.entries()
        total, gone = sum(entry.bytes for entry in entries), []
        for entry in entries:
            if total <= self.max_bytes:
                break
            if entry.path != keep:
                remove(entry)
                gone.append(entry)
                total -= entry.bytes
        return gone

    def _path(self, kind: str, key: Key) -> Path:
        return self.root / kind / digest(key)

    def _build(self, path: Path, key: Key, build: Callable[[Path], None]) -> None:
        # Whoever holds the lock is alone: what is left of the same entry is of processes that were killed.
        for left in path.parent.glob(f"{_UNFINISHED}{path.name}-*"):
            shutil.rmtree(left, ignore_errors=True)
        temporary = path.with_name(f"{_UNFINISHED}{path.name}-{secrets.token_hex(4)}")
        temporary.mkdir(parents=True)
        try:
            build(temporary)
            _describe(temporary, key)
            shutil.rmtree(path, ignore_errors=True)  # what is there is not whole
            temporary.rename(path)
            fsync_directory(path.parent)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise

    def _folders(self) -> Iterator[Path]:
        for kind in sorted(self.root.iterdir()) if self.root.is_dir() else []:
            if kind.is_dir() and not kind.name.startswith("."):
                yield from (path for path in kind.iterdir() if path.is_dir() and not path.name.startswith("."))


def digest(key: Key) -> str:
    """The address of a key: sha256 of its JSON, the first 32 hex digits."""
    text = json.dumps(key, sort_keys=True, ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def damage(entry: Entry) -> str | None:
    """What is wrong with an entry's files, or None: each is read and compared with its checksum."""
    about = json.loads((entry.path / ABOUT).read_text(encoding="utf-8"))
    for name, (size, sha256) in about["files"].items():
        file = entry.path / name
        if not file.is_file():
            return f"{name} is missing"
        if file.stat().st_size != size or file_sha256(file) != sha256:
            return f"{name} has changed"
    return None


def remove(entry: Entry) -> None:
    """Delete an entry; readers that have its files open keep them."""
    # Renamed first: a half deleted folder under its own name would look whole.
    doomed = entry.path.with_name(f"{_UNFINISHED}{entry.path.name}-{secrets.token_hex(4)}")
    try:
        entry.path.rename(doomed)
    except FileNotFoundError:
        return
    shutil.rmtree(doomed, ignore_errors=True)


def _describe(folder: Path, key: Key) -> None:
    """Everything to disk, then the description that makes the entry whole."""
    files = {}
    for file in sorted(path for path in folder.iterdir() if path.is_file()):
        with file.open("rb") as opened:
            os.fsync(opened.fileno())
        files[file.name] = (file.stat().st_size, file_sha256(file))
    text = json.dumps({"key": key, "files": files, "made": time.time()}, indent=1) + "\n"
    (folder / ABOUT).write_text(text, encoding="utf-8")


def _is_whole(path: Path) -> bool:
    """Whether all files are there at their sizes; `damage` compares their bytes."""
    try:
        files = json.loads((path / ABOUT).read_text(encoding="utf-8"))["files"]
        return all((path / name).stat().st_size == size for name, (size, _) in files.items())
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _read_entry(path: Path) -> Entry | None:
    try:
        about = json.loads((path / ABOUT).read_text(encoding="utf-8"))
        size = sum(size for size, _ in about["files"].values())
        return Entry(path.parent.name, path, about["key"], size, (path / ABOUT).stat().st_mtime)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _touch(path: Path) -> None:
    # A cache that this user may only read still serves.
    with contextlib.suppress(OSError):
        os.utime(path / ABOUT)


def _age_seconds(path: Path) -> float:
    try:
        newest = max((file.stat().st_mtime for file in [path, *path.iterdir()]), default=0.0)
        return time.time() - newest
    except OSError:
        return 0.0
