"""When validation no longer improves, as pure functions of its history, so that resuming cannot get it wrong.

A history has one score for each finished epoch, oldest first, higher is better: accuracy, or minus the loss.
"""

from __future__ import annotations

import math
from collections.abc import Sequence


def should_stop(history: Sequence[float], patience: int, min_delta: float = 0.0) -> bool:
    """Whether the last `patience` epochs all failed to beat the best before them by more than `min_delta`."""
    return stale_epochs(history, min_delta) >= patience


def stale_epochs(history: Sequence[float], min_delta: float = 0.0) -> int:
    """Epochs since the last that beat the best so far by more than `min_delta`; one that is not a number never does."""
    best, stale = -math.inf, 0
    for score in history:
        if score > best + min_delta:
            best, stale = score, 0
        else:
            stale += 1
    return stale


def plateaus(history: Sequence[float], patience: int, min_delta: float = 0.0) -> int:
    """How often `patience` epochs in a row failed to beat the best; after each time the count begins anew."""
    best, stale, count = -math.inf, 0, 0
    for score in history:
        best, stale = (score, 0) if score > best + min_delta else (best, stale + 1)
        if stale == patience:
            stale, count = 0, count + 1
    return count
