"""How sure a share is: "Probable Inference, the Law of Succession, and Statistical Inference" (Wilson 1927)."""

from __future__ import annotations

import math

_95 = 1.959964


def interval(share: float, n: int) -> tuple[float, float]:
    """Where a share of n images truly lies, with 95 % confidence; anywhere where there are none."""
    if n == 0:
        return 0.0, 1.0
    square = _95**2
    middle = (share + square / (2 * n)) / (1 + square / n)
    half = _95 / (1 + square / n) * math.sqrt(share * (1 - share) / n + square / (4 * n**2))
    return max(middle - half, 0.0), min(middle + half, 1.0)
