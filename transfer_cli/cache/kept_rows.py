"""Rows of activations that other entries hold: of the same samples in another split, so that none is computed again."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from transfer_cli.cache import activations
from transfer_cli.cache.activations import Activations
from transfer_cli.cache.digests import Digests, find

_NOWHERE = -1
_MOST_ENTRIES = 64
"""Each that is read from has an open file."""


class KeptRows:
    """For each wanted row [N, W] of digests, the entry that has it, if one does."""

    def __init__(
        self, wanted: Digests, folders: Iterable[Path], is_usable: Callable[[Path], bool] = lambda folder: True
    ) -> None:
        """`folders` are entries with rows of the same kind; as few of them as are needed are opened, in their order.

        `is_usable` is asked of those alone, for it reads all their rows.
        """
        self._entries: list[Activations] = []
        self._entry = np.full(len(wanted), _NOWHERE, np.int64)
        self._row = np.full(len(wanted), _NOWHERE, np.int64)
        for folder in folders:
            self._take(wanted, folder, is_usable)
            if len(self._entries) == _MOST_ENTRIES or not self.missing(range(len(wanted))).size:
                break

    def missing(self, rows: range) -> NDArray[np.int64]:
        """Those of `rows` that no entry has."""
        return rows.start + np.flatnonzero(self._entry[rows.start : rows.stop] == _NOWHERE)

    def completed(self, rows: range, size: int, computed: Iterable[Tensor]) -> Iterator[Tensor]:
        """All of `rows` in their order, `size` at once; `computed` gives those that are missing, batch by batch."""
        made = _Queue(computed)
        for start in range(rows.start, rows.stop, size):
            yield self._block(range(start, min(start + size, rows.stop)), made)

    def _take(self, wanted: Digests, folder: Path, is_usable: Callable[[Path], bool]) -> None:
        left = self.missing(range(len(wanted)))
        try:
            found = find(wanted[left], activations.samples_of(folder))
            there = found != _NOWHERE
            if not there.any() or not is_usable(folder):
                return
            entry = activations.read(folder)
        except (OSError, ValueError, LookupError, TypeError):
            # Another process has made room meanwhile, or it is damaged.
            return
        self._entry[left[there]] = len(self._entries)
        self._row[left[there]] = found[there]
        self._entries.append(entry)

    def _block(self, rows: range, made: _Queue) -> Tensor:
        missing = self.missing(rows) - rows.start
        if len(missing) == len(rows):
            return made.take(len(rows))
        first = self._entries[0]
        layout = torch.channels_last if first.channels_last else torch.contiguous_format
        block = torch.empty(len(rows), *first.shape, dtype=first.dtype, memory_format=layout)
        if len(missing):
            block[torch.from_numpy(missing)] = made.take(len(missing))
        for number in np.unique(self._entry[rows.start : rows.stop]):
            if number != _NOWHERE:
                here = np.flatnonzero(self._entry[rows.start : rows.stop] == number)
                block[torch.from_numpy(here)] = self._entries[number].rows(self._row[rows.start + here])
        return block


class _Queue:
    """Rows that come in batches, handed out in other numbers."""

    def __init__(self, batches: Iterable[Tensor]) -> None:
        self._batches = iter(batches)
        self._left: list[Tensor] = []

    def take(self, count: int) -> Tensor:
        """The next `count` rows."""
        while sum(map(len, self._left)) < count:
            self._left.append(next(self._batches))
        rows = self._left[0] if len(self._left) == 1 else torch.cat(self._left)
        self._left = [rows[count:]] if count < len(rows) else []
        return rows[:count]
