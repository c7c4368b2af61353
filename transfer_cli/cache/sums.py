"""Checksums of files, block by block: of what is written, and of what is read again."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterator
from typing import BinaryIO

_BLOCK_BYTES = 2**20


class Sums:
    """Sha256 and CRC-32 of bytes that come block by block."""

    def __init__(self) -> None:
        self._sha256, self.crc32, self.bytes = hashlib.sha256(), 0, 0

    def add(self, block: bytes) -> None:
        """The next bytes."""
        self._sha256.update(block)
        self.crc32 = zlib.crc32(block, self.crc32)
        self.bytes += len(block)

    def copy(self) -> Sums:
        """Goes on by itself."""
        other = Sums()
        other._sha256, other.crc32, other.bytes = self._sha256.copy(), self.crc32, self.bytes
        return other

    @property
    def sha256(self) -> str:
        """As hex digits."""
        return self._sha256.hexdigest()


def read(file: BinaryIO, size: int | None = None) -> Iterator[bytes]:
    """The bytes of a file from where it stands, up to `size` of them, in blocks."""
    left = size
    while block := file.read(_BLOCK_BYTES if left is None else min(left, _BLOCK_BYTES)):
        yield block
        if left is not None:
            left -= len(block)
