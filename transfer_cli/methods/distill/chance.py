"""Whether an accuracy could be luck: a teacher that guesses must not teach unnoticed."""

from __future__ import annotations

SIGNIFICANCE = 1e-3
"""How rarely guessing may be taken for knowledge."""


def is_at_chance(accuracy: float, classes: float, n: int) -> bool:
    """Whether guessing among `classes` gets `accuracy` of n images right, or more, in at least one of 1000 tries.

    For classes of unequal size give 1 / (share of the largest) as `classes`: always saying it is the best guess.
    """
    # Imported here: scipy.stats takes half a second, and only distillation asks.
    from scipy.stats import binom  # type: ignore[attr-defined]

    at_least = binom.sf(round(accuracy * n) - 1, n, min(1 / classes, 1))
    return bool(at_least >= SIGNIFICANCE)
