"""An epoch in which every class is seen equally often, whatever its share of the data."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from transfer_cli.data.views import order, uniforms


def balanced_order(seed: int, epoch: int, labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Which sample stands where in an epoch, [N], a pure function of (seed, epoch) and all `labels` [N].

    Each class that occurs gets N / K places, give or take one; each of its samples equally many, give or take one.
    """
    classes = np.unique(labels)
    places = np.full(len(classes), len(labels) // len(classes))
    places[order(seed, epoch, len(classes))[: len(labels) % len(classes)]] += 1
    keys = uniforms(seed, epoch, np.arange(len(labels)), 1, "balance")[:, 0]
    chosen = []
    for label, count in zip(classes, places, strict=True):
        mine = np.flatnonzero(labels == label)
        chosen.append(np.resize(mine[np.argsort(keys[mine], kind="stable")], count))
    return np.concatenate(chosen)[order(seed, epoch, len(labels))]
