"""Pixels that an earlier pass has decoded: read from disk batch by batch, or held in memory whole."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from transfer_cli.data.reading.listing import Indices
from transfer_cli.data.store.formats import EVALUATION, TRAINING, PixelRequest
from transfer_cli.data.store.live import Contents
from transfer_cli.data.store.table import Table
from transfer_cli.data.views.geometry import Pixels

if TYPE_CHECKING:
    from transfer_cli.data.store.open import Store

PART_IMAGES = 256


class DiskStore:
    """Reads what a batch needs from the packs; the system's file cache does the rest."""

    where, decodes = "disk", False

    def __init__(self, tables: Mapping[str, Table], contents: Contents, images_decoded: int) -> None:
        self._tables, self._contents = tables, contents
        self.images_decoded = images_decoded

    def fingerprint(self, indices: Indices) -> str:
        """See Store."""
        return self._contents.fingerprint(indices)

    def evaluation(self, indices: Indices) -> Pixels:
        """See Store."""
        return self._tables[EVALUATION].read_equal(indices)

    def sources(self, indices: Indices) -> list[Pixels]:
        """See Store."""
        return [self._tables[TRAINING].read(int(index)) for index in indices]


class RamStore:
    """All wanted pixels in this process's memory."""

    where, decodes = "ram", False

    def __init__(self, source: Store, wants: list[PixelRequest]) -> None:
        """Reads everything from `source` once."""
        self._source, self.images_decoded = source, source.images_decoded
        self._place: dict[str, NDArray[np.int64]] = {}
        self._evaluation = np.empty((0, 0, 0, 3), np.uint8)
        self._sources: list[Pixels] = []
        for want in wants:
            self._place[want.form.name] = places(want)
            if want.form.name == TRAINING:
                self._sources = [pixels for part in parts(want.indices) for pixels in source.sources(part)]
            elif len(want.indices):
                self._evaluation = _gathered(source, want.indices)

    def fingerprint(self, indices: Indices) -> str:
        """See Store."""
        return self._source.fingerprint(indices)

    def evaluation(self, indices: Indices) -> Pixels:
        """See Store."""
        return self._evaluation[self._place[EVALUATION][indices]]

    def sources(self, indices: Indices) -> list[Pixels]:
        """See Store."""
        return [self._sources[place] for place in self._place[TRAINING][indices]]


def places(want: PixelRequest) -> NDArray[np.int64]:
    """The position of each wanted sample among the wanted ones, by its index; -1 for others."""
    where = np.full(int(want.indices.max(initial=-1)) + 1, -1, np.int64)
    where[want.indices] = np.arange(len(want.indices))
    return where


def parts(indices: Indices) -> list[Indices]:
    """`indices` in pieces of moderate size."""
    return [indices[start : start + PART_IMAGES] for start in range(0, len(indices), PART_IMAGES)]


def _gathered(source: Store, indices: Indices) -> Pixels:
    """Evaluation pixels of all `indices`, read piece by piece so that they are in memory once."""
    out = np.empty((len(indices), *source.evaluation(indices[:1]).shape[1:]), np.uint8)
    for number, part in enumerate(parts(indices)):
        out[number * PART_IMAGES :][: len(part)] = source.evaluation(part)
    return out
