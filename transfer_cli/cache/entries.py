"""Content-addressed entries: a folder each, complete or absent, shared by concurrent jobs, capped in size.

An entry's address is the hash of its key, a plain dictionary of all that determines its bytes. A filler builds it
under a temporary name while others that want the same entry wait for it, and renames it when it is complete. What is
found damaged is removed, said, and built again.
"""

from __future__ import annotations

import contextlib
import errno
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from transfer_cli.cache.entry import (
    UNFINISHED,
    Entry,
    Key,
    age_seconds,
    damage,
    describe,
    digest,
    folder_bytes,
    is_whole,
    read_entry,
    remove,
    touch,
)
from transfer_cli.cache.sharing import lock, make_folder
from transfer_cli.cache.stripes import NO_ROOM, STRIPES, Filling, Striped
from transfer_cli.files import fsync_directory, unfinished

if TYPE_CHECKING:
    from filelock import BaseFileLock

_ABANDONED_SECONDS = 3600.0
_KEPT_SECONDS = 7 * 24 * 3600.0
"""For what a process that was stopped has done of an entry."""
# How a folder that belongs to somebody else refuses; the last two where an entry of theirs cannot be replaced.
_NOT_OURS = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTEMPTY, errno.EEXIST)


class Cache:
    """Entries below `root`, at most `max_bytes` together: the least recently used goes first. Counts its look-ups.

    `warn` is told of every entry that is damaged, and once where the cache of somebody else may only be read.
    """

    def __init__(self, root: Path, max_bytes: int, warn: Callable[[str], None] = lambda text: None) -> None:
        self.root, self.max_bytes, self._warn = root, max_bytes, warn
        self.hits = self.misses = 0
        self._sound: set[Path] = set()
        self._kept_damaged: set[Path] = set()
        self._own: _Private | None = None

    def get(self, kind: str, key: Key) -> Path | None:
        """The folder of an entry, marked as just used; None if it is not there, or is damaged."""
        path = self._find(kind, key)
        self.hits += path is not None
        self.misses += path is None
        if path is not None:
            touch(path)
        return path

    def similar(self, kind: str, is_wanted: Callable[[Path], bool]) -> list[Path]:
        """The folders of all entries of a kind that `is_wanted`, sound or not, the latest used first."""
        entries = _by_use(read_entry(path) for path in self._folders() if path.parent.name == kind and is_wanted(path))
        return [entry.path for entry in reversed(entries)]

    def is_usable(self, path: Path) -> bool:
        """Whether an entry that was found among others is whole and sound; it counts as used just now."""
        usable = self._is_usable(path)
        if usable:
            touch(path)
        return usable

    def use(self, path: Path) -> None:
        """Count an entry that was found among `entries` as a hit, and as used just now."""
        self.hits += 1
        touch(path)

    def has(self, kind: str, key: Key) -> bool:
        """Whether an entry is there; neither counted nor marked as used."""
        return self._find(kind, key) is not None

    def fill(self, kind: str, key: Key, build: Callable[[Path], None]) -> Path:
        """The folder of an entry; if it is not there, `build` makes its files in an empty folder.

        One process builds; others that want the same entry wait and get that one. In a cache that this user may only
        read, what is missing is built for this process alone. Raises what `build` raises, with nothing left behind, and
        OSError where the disk is full.
        """
        return self._obtained(kind, key, lambda cache: cache._filled(kind, key, build))

    def fill_together(self, kind: str, key: Key, striped: Striped) -> Path:
        """`fill` for an entry with a large file, of which all processes that want it make stripes at the same time.

        What was done stays where one is stopped, or killed, for whoever wants the entry next.
        """
        return self._obtained(kind, key, lambda cache: cache._filled_together(kind, key, striped))

    def lock(self, name: str) -> BaseFileLock:
        """A lock for all processes that may write this cache. Raises OSError."""
        try:
            return lock(self.root, name)
        except OSError as error:
            return self._private(error).lock(name)

    def entries(self) -> list[Entry]:
        """All whole entries, the least recently used first."""
        return _by_use(map(read_entry, self._folders()))

    def is_sound(self, path: Path, apart_from: str | None = None) -> bool:
        """Whether the files of an entry are what was written; one that is damaged is discarded.

        `apart_from` names a file with checksums of its own parts, which whoever reads them compares.
        """
        try:
            problem = damage(path, quickly=True, apart_from=apart_from)
        except OSError as error:
            problem = f"cannot be read ({error.strerror or error})"
        if problem is not None:
            self.discard(path, problem)
        return problem is None

    def discard(self, path: Path, problem: str) -> None:
        """Remove a damaged entry, and say so once; what it held is made again."""
        self._sound.discard(path)
        if not path.is_dir() or path in self._kept_damaged:
            return
        self._warn(f"cache: {path}: {problem}; what it held is made again")
        try:
            remove(path)
        except OSError:
            self._kept_damaged.add(path)

    def evict(self, keep: Path | None = None, *, begun: bool = False) -> list[Entry]:
        """Delete the least recently used entries until the rest fits, and what killed processes left; returns those.

        `begun`: of entries that processes together have begun, nothing is kept for those who might go on.
        """
        found = {path: read_entry(path) for path in self._folders()}
        entries = _by_use(found.values())
        total, gone = sum(entry.bytes for entry in entries), []
        undescribed = [path for path, entry in found.items() if entry is None]
        self._remove_left(undescribed, room=-1 if begun else self.max_bytes - total)
        for entry in entries:
            if total <= self.max_bytes:
                break
            if entry.path != keep:
                # Those of other users are theirs to delete.
                with contextlib.suppress(OSError):
                    remove(entry.path)
                    gone.append(entry)
                    total -= entry.bytes
        return gone

    def _remove_left(self, undescribed: list[Path], room: int) -> None:
        """Delete what killed processes left; what was done of an entry stays for days where there is room for it."""
        for folder in [*self.root.glob(f"*/{UNFINISHED}*"), *undescribed]:
            keeps = STRIPES in folder.name and folder_bytes(folder) <= room
            too_old = age_seconds(folder) > (_KEPT_SECONDS if keeps else _ABANDONED_SECONDS)
            if too_old or _is_of_a_whole_entry(folder):
                shutil.rmtree(folder, ignore_errors=True)
        for file in [*unfinished(self.root), *unfinished(self.root, "*/")]:
            with contextlib.suppress(OSError):
                if age_seconds(file) > _ABANDONED_SECONDS:
                    file.unlink()

    def _find(self, kind: str, key: Key) -> Path | None:
        """The folder of an entry that is whole, and whose bytes were right at its first use by this object."""
        path = self._path(kind, key)
        if self._is_usable(path):
            return path
        return None if self._own is None else self._own.get(kind, key)

    def _is_usable(self, path: Path) -> bool:
        """Whether an entry is whole; its bytes are compared at its first use by this object."""
        if not is_whole(path) or path in self._kept_damaged:
            return False
        if path not in self._sound and self.is_sound(path):
            self._sound.add(path)
        return path in self._sound

    def _path(self, kind: str, key: Key) -> Path:
        return self.root / kind / digest(key)

    def _filled(self, kind: str, key: Key, build: Callable[[Path], None]) -> Path:
        path = self._path(kind, key)
        with lock(self.root, f"{kind}-{path.name}"):
            # Another process may have built it while this one waited.
            if not self._is_usable(path):
                self._build(path, key, build)
        self._kept_damaged.discard(path)
        self._sound.add(path)
        return path

    def _filled_together(self, kind: str, key: Key, striped: Striped) -> Path:
        path = self._path(kind, key)
        Filling(self.root, path, striped).run(key, lambda: self._is_usable(path))
        self._kept_damaged.discard(path)
        self._sound.add(path)
        return path

    def _obtained(self, kind: str, key: Key, fill: Callable[[Cache], Path]) -> Path:
        """An entry that is there, or is filled now, where this cache may only be read in one of this process alone."""
        path = self._find(kind, key)
        if path is None:
            try:
                path = fill(self)
            except OSError as error:
                if error.errno in NO_ROOM and error.filename is None:
                    # A write does not say where: else the run's directory would be taken for it.
                    error.filename = str(self._path(kind, key))
                path = self._private(error)._obtained(kind, key, fill)
        touch(path)
        self.evict(keep=path)
        return path

    def _build(self, path: Path, key: Key, build: Callable[[Path], None]) -> None:
        # Whoever holds the lock is alone: what is left of the same entry is of processes that were killed.
        for left in path.parent.glob(f"{UNFINISHED}{path.name}-*"):
            shutil.rmtree(left, ignore_errors=True)
        temporary = path.with_name(f"{UNFINISHED}{path.name}-{secrets.token_hex(4)}")
        make_folder(self.root, path.parent)
        temporary.mkdir()
        try:
            build(temporary)
            describe(temporary, key)
            shutil.rmtree(path, ignore_errors=True)  # what is there is not whole
            temporary.rename(path)
            fsync_directory(path.parent)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise

    def _private(self, error: OSError) -> Cache:
        """A cache of this process alone, where this one may only be read; raises the error where it is another."""
        if error.errno not in _NOT_OURS or not self.root.is_dir():
            raise error
        if self._own is None:
            self._warn(
                f"cache: {error.filename or self.root}: {error.strerror}; what is missing there is made for this run "
                "alone (cache_dir=<folder> names a cache of your own)"
            )
            self._own = _Private(self.max_bytes)
        return self._own

    def _folders(self) -> Iterator[Path]:
        for kind in sorted(self.root.iterdir()) if self.root.is_dir() else []:
            if kind.is_dir() and not kind.name.startswith("."):
                yield from (path for path in kind.iterdir() if path.is_dir() and not path.name.startswith("."))


class _Private(Cache):
    """Beside a cache that may only be read; gone when the process ends."""

    def __init__(self, max_bytes: int) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="transfer-run-")
        super().__init__(Path(self._folder.name), max_bytes)

    def _private(self, error: OSError) -> Cache:
        """Nobody keeps this process from its own folder: it is an error of what is built."""
        raise error


def _is_of_a_whole_entry(folder: Path) -> bool:
    """Whether stripes are of an entry that is there: who finished it was killed before taking them away."""
    name, stripes, _ = folder.name.removeprefix(UNFINISHED).partition(STRIPES)
    return bool(stripes) and is_whole(folder.with_name(name))


def _by_use(entries: Iterable[Entry | None]) -> list[Entry]:
    """Those that are there, the least recently used first."""
    there = [entry for entry in entries if entry is not None]
    return sorted(there, key=lambda entry: (entry.used, str(entry.path)))
