"""Whether an accuracy could be luck: a teacher that guesses must not teach unnoticed, and few images prove nothing."""

from __future__ import annotations

import math
from typing import Literal

from transfer_cli.records.wilson import interval

SIGNIFICANCE = 1e-3
"""How rarely guessing may be taken for knowledge."""

Verdict = Literal["knows", "guesses", "unclear"]


def verdict(accuracy: float, classes: float, n: int) -> Verdict:
    """What n images say of a teacher; `unclear` where it could be guessing, and could as well be a good one.

    Good: right in at least half of the cases in which guessing is wrong. For classes of unequal size give 1 / (share of
    the largest) as `classes`: always saying it is the best guess.
    """
    if not is_at_chance(accuracy, classes, n):
        return "knows"
    good = (1 + min(1 / classes, 1)) / 2
    return "guesses" if interval(accuracy, n)[1] < good else "unclear"


def is_at_chance(accuracy: float, classes: float, n: int) -> bool:
    """Whether guessing among `classes` gets `accuracy` of n images right, or more, in at least one of 1000 tries."""
    # Imported here: scipy.stats takes half a second, and only distillation asks.
    from scipy.stats import binom  # type: ignore[attr-defined]

    at_least = binom.sf(round(accuracy * n) - 1, n, min(1 / classes, 1))
    return bool(at_least >= SIGNIFICANCE)


def is_clearly_lower(accuracy: float, other: float, n: int) -> bool:
    """Whether the difference of two shares of n images is more than chance, with 95 % confidence.

    "Interval estimation for the difference between independent proportions" (Newcombe 1998), of Wilson's intervals.
    """
    upper, lower = interval(accuracy, n)[1], interval(other, n)[0]
    return other - accuracy > math.hypot(other - lower, upper - accuracy)
