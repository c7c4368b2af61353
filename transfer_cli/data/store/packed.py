"""Where each sample's decoded pixels lie: rows spread over packs."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from transfer_cli.cache.digests import Digests, find
from transfer_cli.data.reading.listing import Indices
from transfer_cli.data.store.packs import Pack
from transfer_cli.data.store.stamps import SHA256_BYTES
from transfer_cli.data.views.geometry import Pixels


class PackedPixels:
    """The pixels of some samples of a data set in one format, found by the stamps of their files."""

    def __init__(
        self,
        samples: int,
        indices: Indices,
        stamps: Digests,
        channels: int,
        remake: Callable[[int], Pixels],
        discard: Callable[[Pack], None],
    ) -> None:
        """`stamps` [len(indices), 16] belong to `indices` of a set of `samples`, of C channels.

        Where a pack no longer holds what was written, `remake` gives the pixels of a sample anew and `discard` is told.
        """
        self.indices, self._stamps, self._channels = indices, stamps, channels
        self._remake, self._discard = remake, discard
        self.packs: list[Pack] = []
        self._pack = np.full(samples, -1, np.int32)
        self._row = np.full(samples, -1, np.int64)
        self.hashes = np.zeros((samples, SHA256_BYTES), np.uint8)
        self.bad: dict[int, str] = {}
        """Why samples have no pixels, by index."""
        self.remarks: dict[int, str] = {}
        """What to say of how samples are shown, by index."""

    def add(self, pack: Pack) -> int:
        """Take the rows that are still missing from a pack; returns how many it has."""
        missing = self.missing()
        rows = find(self.stamps(missing), pack.stamps)
        found, rows = missing[rows >= 0], rows[rows >= 0]
        if len(found):
            self._pack[found], self._row[found] = len(self.packs), rows
            self.hashes[found] = pack.hashes[rows]
            taken = list(zip(found.tolist(), rows.tolist(), strict=True))
            self.bad |= {index: pack.bad[row] for index, row in taken if row in pack.bad}
            self.remarks |= {index: pack.remarks[row] for index, row in taken if row in pack.remarks}
            self.packs.append(pack)
        return len(found)

    def leave_out(self, unreachable: dict[int, str]) -> None:
        """Files that cannot be read are not looked for any more."""
        self.bad |= unreachable
        self._pack[list(unreachable)] = -2

    def missing(self) -> Indices:
        """Samples that no pack holds yet, ascending."""
        missing: Indices = self.indices[self._pack[self.indices] == -1]
        return missing

    def is_whole(self) -> bool:
        """Whether packs hold what became of every sample."""
        return bool((self._pack[self.indices] >= 0).all())

    def stamps(self, indices: Indices) -> Digests:
        """The stamps of some of the samples."""
        chosen: Digests = self._stamps[np.searchsorted(self.indices, indices)]
        return chosen

    def shape(self, index: int) -> tuple[int, int]:
        """Height and width of a sample's pixels."""
        height, width = self._pack_and_row(index)[0].shapes[self._row[index]]
        return int(height), int(width)

    def read(self, index: int) -> Pixels:
        """The pixels of a sample, uint8 [H, W, C]."""
        out = np.empty((*self.shape(index), self._channels), np.uint8)
        pack, row = self._pack_and_row(index)
        pack.read(row, out)
        self._mend(index, out)
        return out

    def read_equal(self, indices: Indices) -> Pixels:
        """The pixels of samples of one size, uint8 [B, H, W, C]; neighbours are read together."""
        out = np.empty((len(indices), *self.shape(int(indices[0])), self._channels), np.uint8)
        packs, rows = self._pack[indices], self._row[indices]
        breaks = np.flatnonzero((np.diff(rows) != 1) | (np.diff(packs) != 0)) + 1
        for start, end in zip([0, *breaks], [*breaks, len(indices)], strict=True):
            self.packs[packs[start]].read(int(rows[start]), out[start:end])
        for index, pixels in zip(indices, out, strict=True):
            self._mend(int(index), pixels)
        return out

    def bytes(self) -> int:
        """What the samples take, pixels alone."""
        total = 0
        for number, pack in enumerate(self.packs):
            rows = self._row[self.indices[self._pack[self.indices] == number]]
            total += pack.bytes_of(rows)
        return total

    def _mend(self, index: int, pixels: Pixels) -> None:
        """Put the right pixels in place of what was read where that is damaged."""
        pack, row = self._pack_and_row(index)
        if not pack.is_sound(row, pixels):
            self._discard(pack)
            pixels[:] = self._remake(index)

    def _pack_and_row(self, index: int) -> tuple[Pack, int]:
        assert self._pack[index] >= 0, f"sample {index} was not requested"
        return self.packs[self._pack[index]], int(self._row[index])


def hashes_of(packed: list[PackedPixels]) -> Digests:
    """Sha256 of each sample's file [N, 32]; zeros where none knows it."""
    hashes: Digests = np.maximum.reduce([pixels.hashes for pixels in packed])
    return hashes
