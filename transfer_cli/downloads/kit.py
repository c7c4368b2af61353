"""Reading an archive that `pack` wrote, or that someone else did: nothing in it is believed before it is checked."""

from __future__ import annotations

import hashlib
import os
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from transfer_cli.downloads.manifest import MANIFEST, MOST_BYTES, Entry, from_json
from transfer_cli.errors import UserError

_LARGEST_HEADER_BYTES = 2**20
_BLOCK_BYTES = 2**20


@dataclass(frozen=True)
class Kit:
    """An open archive whose members are those of its manifest, each a plain file of the size that is said there."""

    path: Path
    entries: list[Entry]
    _file: BinaryIO
    _offsets: dict[str, int]

    def blocks(self, entry: Entry) -> Iterator[bytes]:
        """The bytes of a file. Raises UserError, at the end, where they are not those that the manifest has hashed."""
        position, left, sha256 = self._offsets[entry.name], entry.bytes, hashlib.sha256()
        while left and (block := self._read(position, min(left, _BLOCK_BYTES))):
            sha256.update(block)
            position, left = position + len(block), left - len(block)
            yield block
        if left or sha256.hexdigest() != entry.sha256:
            raise _damaged(self.path, f"{entry.name} is not what was packed: its hash differs")

    def _read(self, position: int, size: int) -> bytes:
        try:
            self._file.seek(position)
            return self._file.read(size)
        except OSError as error:
            raise _damaged(self.path, f"it cannot be read ({error.strerror or error})") from error

    def verify(self, watch: Callable[[int], None]) -> None:
        """Read every byte. Raises UserError for the first file that is damaged."""
        for entry in self.entries:
            for block in self.blocks(entry):
                watch(len(block))


@contextmanager
def opened(path: Path) -> Iterator[Kit]:
    """The archive at `path`. Raises UserError for what is none, and for one that is cut or holds anything else."""
    try:
        file = path.open("rb")
    except OSError as error:
        raise UserError(f"fetch.unpack={path}: {error.strerror}.") from error
    with file:
        try:
            entries, offsets = _contents(file)
        except ValueError as error:
            raise _damaged(path, str(error)) from error
        except OSError as error:
            raise UserError(f"fetch.unpack={path}: cannot be read ({error.strerror or error}).") from error
        yield Kit(path, entries, file, offsets)


class _Headers:
    """The archive as tarfile reads it: its headers alone, none of them longer than any that is needed."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self.tell, self.seek = file, file.tell, file.seek

    def read(self, size: int) -> bytes:
        if not 0 <= size <= _LARGEST_HEADER_BYTES:
            raise ValueError("a header in it is too long")
        return self._file.read(size)


def _contents(file: BinaryIO) -> tuple[list[Entry], dict[str, int]]:
    """The manifest's entries and where the bytes of each begin. Raises ValueError saying what is wrong."""
    length = os.fstat(file.fileno()).st_size
    try:
        with tarfile.open(fileobj=_Headers(file), mode="r:") as tar:  # type: ignore[call-overload]
            manifest = tar.next()
            if manifest is None or manifest.name != MANIFEST:
                raise ValueError(f"it is no archive of mode=fetch: it does not begin with {MANIFEST}")
            file.seek(_data(manifest, manifest.size, length))
            if manifest.size > MOST_BYTES:
                raise ValueError(f"its {MANIFEST} is too long")
            entries = from_json(file.read(manifest.size))
            offsets = {entry.name: _next(tar, entry, length) for entry in entries}
            if tar.next() is not None:
                raise ValueError(f"it holds more than its {MANIFEST} names")
    except (tarfile.TarError, EOFError, OverflowError, RecursionError) as error:
        raise ValueError(f"it is no whole tar archive ({error})") from error
    return entries, offsets


def _next(tar: tarfile.TarFile, entry: Entry, length: int) -> int:
    """Where the bytes of the next member begin, which must be `entry`."""
    member = tar.next()
    if member is None:
        raise ValueError(f"it is cut: {entry.name} is missing")
    tar.members = []  # type: ignore[attr-defined]  # else it keeps them all
    if member.name != entry.name:
        raise ValueError(f"{member.name[:100]!r} is in it where its {MANIFEST} has {entry.name}")
    return _data(member, entry.bytes, length)


def _data(member: tarfile.TarInfo, size: int, length: int) -> int:
    if member.type not in (tarfile.REGTYPE, tarfile.AREGTYPE) or member.issparse():
        raise ValueError(f"{member.name} in it is a link, a folder or a device, not a file")
    if member.size != size or member.size < 0:
        raise ValueError(f"{member.name} has {member.size:,} bytes, not the {size:,} of its {MANIFEST}")
    if member.offset_data + size > length:
        raise ValueError(f"it is cut within {member.name}")
    return member.offset_data


def _damaged(path: Path, reason: str) -> UserError:
    return UserError(f"fetch.unpack={path}: {reason}. Nothing of it was used; carry the archive over again.")
