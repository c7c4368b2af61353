"""Whether an accuracy could be luck: a teacher that guesses must not teach unnoticed."""

from __future__ import annotations

import math

import numpy as np

SIGNIFICANCE = 1e-3
"""How rarely guessing may be taken for knowledge."""


def is_at_chance(accuracy: float, classes: float, n: int) -> bool:
    """Whether guessing among `classes` gets `accuracy` of n images right, or more, in at least one of 1000 tries.

    For classes of unequal size give 1 / (share of the largest) as `classes`: always saying it is the best guess.
    """
    return guessing_probability(round(accuracy * n), classes, n) >= SIGNIFICANCE


def guessing_probability(correct: int, classes: float, n: int) -> float:
    """How likely guessing is to get `correct` of n images right, or more: the tail of the binomial distribution."""
    if correct == 0 or classes <= 1:
        return 1.0
    first = math.lgamma(n + 1) - math.lgamma(correct + 1) - math.lgamma(n - correct + 1)
    first += (n - correct) * math.log1p(-1 / classes) - correct * math.log(classes)
    more = np.arange(correct, n)
    ratios = np.log((n - more) / (more + 1)) - math.log(classes - 1)
    return float(np.exp(first + np.concatenate([[0.0], np.cumsum(ratios)])).sum())
