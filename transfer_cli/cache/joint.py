"""The large file of an unfinished entry: stripes one behind the other, hashed as they are written.

A journal beside it notes each stripe that is on disk to its end; what lies behind those is cut off by whoever goes on.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from transfer_cli.cache.sums import Sums, read


class Joint:
    """A file that one process at a time appends stripes to, in order. Opening it reads what is there."""

    def __init__(self, file: Path, journal: Path) -> None:
        self._file, self._journal = file, journal
        self.count, self.sums = 0, Sums()
        file.touch()
        self._take_sound_stripes()

    def append(self, stripe: Iterable[bytes], crc32: int | None = None) -> bool:
        """Add the next stripe, block by block, and note it. Where a block raises, all is as it was before.

        False, and nothing changes, for a stripe whose checksum is not `crc32`.
        """
        whole, size, own = self.sums.copy(), 0, 0
        with self._file.open("r+b") as file:
            file.truncate(self.sums.bytes)
            file.seek(self.sums.bytes)

            def take(block: bytes) -> None:
                nonlocal size, own
                file.write(block)
                whole.add(block)
                size, own = size + len(block), zlib.crc32(block, own)

            feed(stripe, take)
            file.flush()
            os.fsync(file.fileno())
        if crc32 not in (None, own):
            return False
        with self._journal.open("a", encoding="ascii") as journal:
            journal.write(f"{size} {own}\n")
        self.count, self.sums = self.count + 1, whole
        return True

    def _take_sound_stripes(self) -> None:
        """Of what an earlier process has joined, the stripes before the first that is damaged."""
        lines = []
        with self._file.open("rb") as file:
            for size, crc32 in noted(self._journal):
                whole, own = self.sums.copy(), 0
                for block in read(file, size):
                    whole.add(block)
                    own = zlib.crc32(block, own)
                if (own, whole.bytes) != (crc32, self.sums.bytes + size):
                    break
                self.count, self.sums = self.count + 1, whole
                lines.append(f"{size} {crc32}\n")
        self._journal.write_text("".join(lines), encoding="ascii")


def feed(blocks: Iterable[bytes], take: Callable[[bytes], None]) -> None:
    """Each block to `take`, which hashes and writes it in a thread while the next one is made."""
    with ThreadPoolExecutor(1, thread_name_prefix="stripes") as pool:
        taken: Future[None] | None = None
        for block in blocks:
            if taken is not None:
                taken.result()
            taken = pool.submit(take, block)
        if taken is not None:
            taken.result()


def noted(journal: Path) -> list[tuple[int, int]]:
    """Bytes and CRC-32 of each stripe that was joined; none where there is no journal."""
    found: list[tuple[int, int]] = []
    with suppress(OSError, ValueError):
        # A last line without its end was being written when the process was killed.
        for line in journal.read_text(encoding="ascii").split("\n")[:-1]:
            size, crc32 = line.split()
            found.append((int(size), int(crc32)))
    return found
