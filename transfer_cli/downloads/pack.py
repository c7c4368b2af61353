"""One archive of everything that was fetched: a plain tar, the manifest first. Equal files, equal bytes."""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import BinaryIO

from transfer_cli.downloads.manifest import MANIFEST, Entry, to_json
from transfer_cli.downloads.partial import Partial, partial
from transfer_cli.errors import RunError


class _Sink:
    """What tarfile writes to."""

    def __init__(self, unfinished: Partial, watch: Callable[[int], None]) -> None:
        self._unfinished, self._watch = unfinished, watch

    def write(self, block: bytes) -> int:
        self._unfinished.write(block)
        self._watch(len(block))
        return len(block)


class _Hashed:
    """A file that is read, with the hash of what was read."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self.sha256 = file, hashlib.sha256()

    def read(self, size: int) -> bytes:
        block = self._file.read(size)
        self.sha256.update(block)
        return block


def pack(archive: Path, files: Sequence[tuple[Entry, Path]], watch: Callable[[int], None]) -> None:
    """Write the files to `archive`, which appears whole or not at all; `watch` is told of bytes as they are written.

    Raises RunError where the disk is full, and for a file that changes meanwhile.
    """
    files = sorted(files, key=lambda file: file[0].name)
    manifest = to_json(entry for entry, _ in files)
    with partial(archive) as unfinished:
        unfinished.cut()
        try:
            unfinished.need(len(manifest) + sum(entry.bytes + 2048 for entry, _ in files))
            with tarfile.open(fileobj=_Sink(unfinished, watch), mode="w|", format=tarfile.PAX_FORMAT) as tar:  # type: ignore[call-overload]
                tar.addfile(_member(MANIFEST, len(manifest)), io.BytesIO(manifest))
                for entry, path in files:
                    _add(tar, entry, path)
            unfinished.done()
        except BaseException:
            unfinished.drop()
            raise


def _add(tar: tarfile.TarFile, entry: Entry, path: Path) -> None:
    try:
        with path.open("rb") as file:
            hashed = _Hashed(file)
            tar.addfile(_member(entry.name, entry.bytes), hashed)  # type: ignore[arg-type]
    except OSError as error:
        raise RunError(f"{path}: cannot be packed ({error.strerror or error}).") from error
    if hashed.sha256.hexdigest() != entry.sha256:
        raise RunError(f"{path}: changed while it was packed; run the same command again.")


def _member(name: str, size: int) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.size, member.mode = size, 0o644
    return member
