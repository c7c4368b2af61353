"""Rows of digests, and where each lies among others."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Digests = NDArray[np.uint8]
"""[N, W], a row each; W a multiple of 8."""


def find(wanted: Digests, known: Digests) -> NDArray[np.int64]:
    """For each of `wanted` [N, W] its row in `known` [M, W], or -1: int64 [N]."""
    if len(known) == 0 or len(wanted) == 0:
        return np.full(len(wanted), -1, np.int64)
    # Eight bytes to search by, all of them to be sure.
    keys, wanted_keys = (np.ascontiguousarray(digests).view(np.uint64)[:, 0] for digests in (known, wanted))
    order = np.argsort(keys, kind="stable")
    rows = order[np.minimum(np.searchsorted(keys[order], wanted_keys), len(keys) - 1)]
    return np.where((known[rows] == wanted).all(axis=1), rows, -1)
