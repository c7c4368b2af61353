"""Whether an accuracy could be luck: a teacher that guesses must not teach unnoticed."""

from __future__ import annotations

import math

import numpy as np

SIGNIFICANCE = 1e-3
"""How rarely guessing may be taken for knowledge."""


def is_at_chance(accuracy: float, classes: float, n: int) -> bool:
    """Whether guessing among `classes` would get `accuracy` of n images right, or more, in one of 1000 tries or more.

    The exact binomial tail. For classes of unequal size give 1 / (share of the largest) as `classes`: guessing it
    always is the best guess. True for no images.
    """
    correct = round(accuracy * n)
    if correct == 0 or classes <= 1:
        return True
    more = np.arange(correct, n)
    ratios = np.log((n - more) / (more + 1)) - math.log(classes - 1)
    first = math.lgamma(n + 1) - math.lgamma(correct + 1) - math.lgamma(n - correct + 1)
    first += (n - correct) * math.log1p(-1 / classes) - correct * math.log(classes)
    tail = np.exp(first + np.concatenate([[0.0], np.cumsum(ratios)])).sum()
    return bool(tail >= SIGNIFICANCE)
