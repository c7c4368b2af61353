"""The learning-rate range test: raise the rate exponentially step by step, and read the losses.

"Cyclical Learning Rates for Training Neural Networks" (Smith 2017, arXiv 1506.01186).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

_AVERAGED = 10
"""Steps that a running average knows little before: a fall within them is mostly that of two batches."""


@dataclass(frozen=True)
class Suggestion:
    """Rates that a curve suggests: where the loss falls fastest, and a tenth of where it is lowest."""

    steepest: float
    tenth_of_lowest: float


def rates(lowest: float, highest: float, steps: int) -> list[float]:
    """`steps` rates from `lowest` to `highest`, each the same factor above the one before."""
    return [lowest * (highest / lowest) ** (step / max(steps - 1, 1)) for step in range(steps)]


def smoothed(losses: Sequence[float], beta: float = 0.9) -> list[float]:
    """The exponential average of the losses so far, corrected for its start at nothing."""
    result, average = [], 0.0
    for step, loss in enumerate(losses, 1):
        average = beta * average + (1 - beta) * loss
        result.append(average / (1 - beta**step))
    return result


def has_diverged(losses: Sequence[float], factor: float = 4.0) -> bool:
    """Whether to stop: the last smoothed loss is not finite, or above `factor` times the lowest."""
    return not losses or not math.isfinite(losses[-1]) or losses[-1] > factor * min(losses)


def suggest(tested: Sequence[float], losses: Sequence[float]) -> Suggestion | None:
    """Suggested rates from rates [N] and their smoothed losses [N]; None where the loss never falls.

    Both are sought up to the lowest loss, the slope over the logarithm of the rate and, where that leaves as many
    again, not in the first ten steps; neither is below the first rate.
    """
    finite = next((i for i, loss in enumerate(losses) if not math.isfinite(loss)), len(losses))
    lowest = int(np.argmin(losses[:finite])) if finite else 0
    if lowest < 1:
        return None
    first = _AVERAGED if lowest >= 2 * _AVERAGED else 0
    slopes = np.gradient(np.asarray(losses[first : lowest + 1]), np.log(tested[first : lowest + 1]))
    return Suggestion(
        steepest=tested[first + int(np.argmin(slopes))], tenth_of_lowest=max(tested[lowest] / 10, tested[0])
    )
