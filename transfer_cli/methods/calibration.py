"""Confidence that means what it says: "On Calibration of Modern Neural Networks" (Guo 2017, arXiv 1706.04599)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

LOWEST, HIGHEST = 0.05, 20.0


def fit_temperature(logits: NDArray[np.float32], labels: NDArray[np.int64]) -> float:
    """The T that minimises the cross-entropy of logits / T [N, K] with labels [N]; 1 where no label is there.

    T is between 0.05 and 20: a network that is right every time would be sharpened without end.
    """
    from scipy.optimize import minimize_scalar

    known = labels >= 0
    if not known.any():
        return 1.0
    rows, truth = logits[known].astype(np.float64), labels[known]

    def loss(log_temperature: float) -> float:
        scaled = rows / math.exp(log_temperature)
        scaled -= scaled.max(1, keepdims=True)
        normaliser = np.log(np.exp(scaled).sum(1))
        return float((normaliser - scaled[np.arange(len(truth)), truth]).mean())

    found: Any = minimize_scalar(loss, bounds=(math.log(LOWEST), math.log(HIGHEST)), method="bounded")
    return math.exp(float(found.x))
