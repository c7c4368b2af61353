"""Classes of different size: an order that shows each equally often, and weights that count rare ones for more."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from transfer_cli.data.views.random_numbers import order

EFFECTIVE_BETA = 0.999
SKEWED_RATIO = 10


def balanced_order(seed: int, epoch: int, labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """The N draws of epoch `epoch` from N samples with these labels, each class equally often: int64 [N].

    A pure function. Where N is no multiple of the number of classes the odd draws go round: over any number of epochs,
    classes differ by one draw. Each class deals its samples from shuffled decks, one after the other, so that samples
    of a class differ by one showing; an epoch may begin in the middle of a deck.
    """
    counts = np.unique(labels, return_counts=True)[1]
    classes = np.split(np.argsort(labels, kind="stable"), np.cumsum(counts)[:-1])
    share, odd = divmod(len(labels), len(classes))
    drawn: list[NDArray[np.int64]] = []
    for number, members in enumerate(classes):
        # Odd draws are dealt to classes in turn: so many of the first `epoch * odd` went to this one.
        before, after = (e * share + -(-(e * odd - number) // len(classes)) for e in (epoch, epoch + 1))
        size = len(members)
        for deck in range(before // size, -(-after // size)):
            cards = members[order(seed, deck, size)]
            drawn.append(cards[max(before - deck * size, 0) : after - deck * size])
    return np.concatenate(drawn)[order(seed, epoch, len(labels))]


def class_weights(labels: NDArray[np.int64], num_classes: int, how: str) -> NDArray[np.float32]:
    """Weights of the classes in the loss, float32 [K]; over these labels they average to 1. An absent class has 0.

    none: 1. inverse: one over the number of samples n. effective: one over the effective number of samples,
    (1 - b**n) / (1 - b) with b = 0.999 ("Class-Balanced Loss Based on Effective Number
    of Samples", Cui 2019, arXiv 1901.05555, who let the weights sum to K instead).
    """
    counts = np.bincount(labels, minlength=num_classes).astype(np.float64)
    numbers = {
        "none": np.ones(num_classes),
        "inverse": counts,
        "effective": (1 - EFFECTIVE_BETA**counts) / (1 - EFFECTIVE_BETA),
    }[how]
    weights = np.divide(1, numbers, out=np.zeros(num_classes), where=counts > 0)
    weights *= counts.sum() / (weights * counts).sum()
    result: NDArray[np.float32] = weights.astype(np.float32)
    return result


def skew_note(labels: NDArray[np.int64], classes: Sequence[str]) -> str | None:
    """A warning if the largest class has over ten times the samples of the smallest (that has any)."""
    if len(classes) == 0:
        return None
    counts = np.bincount(labels[labels >= 0], minlength=len(classes))
    present = np.flatnonzero(counts)
    if len(present) == 0 or counts.max() <= SKEWED_RATIO * counts[present].min():
        return None
    largest = int(counts.argmax())
    smallest = int(present[counts[present].argmin()])
    return (
        f"classes are skewed: {counts[largest]:,} training images of {classes[largest]}, {counts[smallest]:,} of "
        f"{classes[smallest]}. See dataset.sampler=balanced and dataset.class_weights."
    )
