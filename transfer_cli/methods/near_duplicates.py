"""Images that are almost the same, by the cosine of their standardised features."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from transfer_cli.methods.probes.linear_layer import standardiser
from transfer_cli.methods.probes.neighbours import nearest

_NEIGHBOURS = 8
_ROUNDING = 1e-5
"""By which the cosine of two copies may be less than 1."""
_NO_LENGTH = 1e-6
"""Of a deviation: features that differ from the mean by less have no direction."""


class Pair(NamedTuple):
    """Two images by their positions, the first the lower one."""

    one: int
    other: int
    similarity: float


def near_duplicates(features: Tensor, kinds: NDArray[np.int64], similarity: float) -> list[Pair]:
    """Pairs of features [N, D] with at least this cosine, of images of different kind, [N]; the most similar first.

    Of each image the eight nearest of other kinds are looked at. Features are standardised first: what all images have
    in common makes none of them alike, unless they have nothing else, as copies of one image.
    """
    if len(features) < 2:
        return []
    table = _with_direction(standardiser(features).apply(features))
    own = torch.from_numpy(kinds).to(features.device)
    found = nearest(table, table, _NEIGHBOURS, (own, own))
    rows, places = torch.nonzero(found.similarities >= similarity - _ROUNDING, as_tuple=True)
    similarities = found.similarities[rows, places].tolist()
    others = found.positions[rows, places].tolist()
    pairs = {
        (min(one, other), max(one, other)): value
        for one, other, value in zip(rows.tolist(), others, similarities, strict=True)
    }
    return sorted((Pair(*both, value) for both, value in pairs.items()), key=lambda pair: (-pair.similarity, pair))


def _with_direction(table: Tensor) -> Tensor:
    """Standardised features [N, D], where some are the mean itself with a dimension more that they alone lie in."""
    means = table.norm(dim=1) <= _NO_LENGTH * table.shape[1] ** 0.5
    if not means.any():
        return table
    return torch.cat([table.masked_fill(means[:, None], 0.0), means[:, None].to(table)], dim=1)
