"""Pixels that an earlier pass has decoded: read from disk batch by batch, or held in memory whole."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from transfer_cli.cache.digests import Digests
from transfer_cli.data.reading.listing import Indices
from transfer_cli.data.store.formats import EVALUATION, TRAINING, PixelRequest
from transfer_cli.data.store.packed import PackedPixels, hashes_of
from transfer_cli.data.store.protocol import HostPixels
from transfer_cli.data.views.geometry import Pixels

CHUNK_IMAGES = 256


class DiskPixels:
    """Reads what a batch needs from the packs; the system's file cache does the rest."""

    where, decodes = "disk", False

    def __init__(self, packed: Mapping[str, PackedPixels]) -> None:
        """`packed` by the names of their formats."""
        self._packed, self._hashes = packed, hashes_of(list(packed.values()))

    def hashes(self, indices: Indices) -> Digests:
        """The sha256 of what the file of each sample holds, [B, 32]."""
        return self._hashes[indices]

    def evaluation(self, indices: Indices) -> Pixels:
        """Evaluation pixels, uint8 [B, S, S, C]."""
        return self._packed[EVALUATION].read_equal(indices)

    def sources(self, indices: Indices) -> list[Pixels]:
        """Training sources, each uint8 [h, w, C]."""
        return [self._packed[TRAINING].read(int(index)) for index in indices]


class RamPixels:
    """All requested pixels in this process's memory."""

    where, decodes = "ram", False

    def __init__(self, source: HostPixels, requests: list[PixelRequest]) -> None:
        """Reads everything from `source` once."""
        self.hashes = source.hashes
        self._positions: dict[str, Positions] = {}
        self._evaluation = np.empty((0, 0, 0, 3), np.uint8)
        self._sources: list[Pixels] = []
        for request in requests:
            self._positions[request.format.name] = Positions(request)
            if request.format.name == TRAINING:
                self._sources = [pixels for chunk in chunks(request.indices) for pixels in source.sources(chunk)]
            elif len(request.indices):
                self._evaluation = _gathered(source, request.indices)

    def evaluation(self, indices: Indices) -> Pixels:
        """Evaluation pixels, uint8 [B, S, S, C]."""
        return self._evaluation[self._positions[EVALUATION].of(indices)]

    def sources(self, indices: Indices) -> list[Pixels]:
        """Training sources, each uint8 [h, w, C]."""
        return [self._sources[position] for position in self._positions[TRAINING].of(indices)]


class Positions:
    """Where each requested sample lies among the requested ones."""

    def __init__(self, request: PixelRequest) -> None:
        self._indices = request.indices

    def of(self, indices: Indices) -> NDArray[np.int64]:
        """The positions of samples, every one of them requested."""
        found = np.searchsorted(self._indices, indices)
        there = self._indices[np.minimum(found, len(self._indices) - 1)] == indices if len(self._indices) else False
        assert np.all(there), "pixels of samples that were not requested"
        return found


def chunks(indices: Indices) -> list[Indices]:
    """`indices` in pieces of moderate size."""
    return [indices[start : start + CHUNK_IMAGES] for start in range(0, len(indices), CHUNK_IMAGES)]


def _gathered(source: HostPixels, indices: Indices) -> Pixels:
    """Evaluation pixels of all `indices`, read piece by piece so that they are in memory once."""
    out = np.empty((len(indices), *source.evaluation(indices[:1]).shape[1:]), np.uint8)
    for number, chunk in enumerate(chunks(indices)):
        out[number * CHUNK_IMAGES :][: len(chunk)] = source.evaluation(chunk)
    return out
