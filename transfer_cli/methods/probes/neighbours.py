"""Cosine nearest neighbours with weighted votes, the k-NN probe of DINO (Caron 2021, arXiv 2104.14294).

Ours rather than scikit-learn's: it runs on the features' device in bounded memory, and without an import of 1.1 s.

Legend: Q queries, N stored samples (the bank), D feature width, K classes, k neighbours.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from transfer_cli.models.heads import vote_shares

_QUERIES_AT_ONCE = 512
_STORED_AT_ONCE = 1 << 15


class Nearest(NamedTuple):
    """Cosine similarities [Q, k], largest first, and the positions in the bank [Q, k]."""

    similarities: Tensor
    positions: Tensor


def nearest(queries: Tensor, bank: Tensor, count: int, kinds: tuple[Tensor, Tensor] | None = None) -> Nearest:
    """The `count` samples of bank [N, D] nearest to each query [Q, D]; all of them where the bank holds fewer.

    `kinds`: of the queries [Q] and of the bank [N]; one of the query's own kind counts as infinitely far. At most
    512 x 32,768 similarities are in memory at once.
    """
    lengths = torch.cat([part.norm(dim=1) for part in bank.split(_STORED_AT_ONCE)]).clamp_min(1e-12)
    asked, stored = (None, None) if kinds is None else kinds
    found = []
    for start in range(0, len(queries), _QUERIES_AT_ONCE):
        rows = slice(start, start + _QUERIES_AT_ONCE)
        units, own = F.normalize(queries[rows], dim=1), None if asked is None else asked[rows]
        found.append(_nearest_of_all(units, bank, lengths, count, own, stored))
    return Nearest(torch.cat([part.similarities for part in found]), torch.cat([part.positions for part in found]))


def votes(found: Nearest, bank_labels: Tensor, classes: int, count: int) -> Tensor:
    """Each class's share [Q, K] of the votes of the nearest `count` of those found, as a neighbours head gives it."""
    return vote_shares(found.similarities[:, :count], bank_labels[found.positions[:, :count]], classes)


def knn_accuracies(
    bank: Tensor,
    bank_labels: Tensor,
    queries: Tensor,
    labels: Tensor,
    classes: int,
    counts: Sequence[int],
) -> dict[int, float]:
    """Accuracy on queries [Q, D] with labels [Q] for each number of neighbours; one search serves them all."""
    found = nearest(queries, bank, max(counts))
    return {
        count: float((votes(found, bank_labels, classes, count).argmax(1) == labels).double().mean())
        for count in counts
    }


def _nearest_of_all(
    units: Tensor, bank: Tensor, lengths: Tensor, count: int, own: Tensor | None, stored: Tensor | None
) -> Nearest:
    """The nearest to queries of unit length [Q, D]: the best of each part of the bank, then the best of those."""
    parts = []
    for start in range(0, len(bank), _STORED_AT_ONCE):
        rows = slice(start, start + _STORED_AT_ONCE)
        similarities = (units @ bank[rows].T).div_(lengths[rows])
        if own is not None and stored is not None:
            similarities.masked_fill_(own[:, None] == stored[rows], -math.inf)
        values, positions = similarities.topk(min(count, similarities.shape[1]), dim=1)
        parts.append((values, positions + start))
    values, order = torch.cat([part[0] for part in parts], dim=1).topk(min(count, len(bank)), dim=1)
    return Nearest(values, torch.cat([part[1] for part in parts], dim=1).gather(1, order))
