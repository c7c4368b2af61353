"""How good predictions are, in numpy alone: scikit-learn takes a second to import and gives the same numbers.

Legend: N samples, K classes. A label of -1 means unlabelled; such samples count nowhere.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from transfer_cli.errors import RunError

Floats = NDArray[np.float32] | NDArray[np.float64]

_ROWS_AT_ONCE = 4096
_CALIBRATION_BINS = 15


def scores(logits: Floats, labels: NDArray[np.int64]) -> dict[str, float]:
    """accuracy, top5_accuracy (top-min(5, K)), macro_f1, loss (cross-entropy in nats) and ece of logits [N, K].

    macro_f1 is the mean over classes that occur among labels or predictions, as scikit-learn has it. Raises ValueError
    without a single labelled sample, RunError for logits that are not finite.
    """
    labelled = labels >= 0
    logits, labels = logits[labelled], labels[labelled]
    if len(labels) == 0:
        raise ValueError("no labelled samples to score")
    _check_finite(logits)
    predicted = logits.argmax(1)
    parts = range(0, len(labels), _ROWS_AT_ONCE)
    measured = [_measure(logits[i : i + _ROWS_AT_ONCE], labels[i : i + _ROWS_AT_ONCE]) for i in parts]
    losses, ranks, confidences = (np.concatenate(column) for column in zip(*measured, strict=True))
    return {
        "accuracy": float(np.mean(predicted == labels)),
        "top5_accuracy": float(np.mean(ranks < 5)),
        "macro_f1": _macro_f1(confusion(labels, predicted, logits.shape[1])),
        "loss": float(np.mean(losses)),
        "ece": _calibration_error(confidences, predicted == labels),
    }


def softmax(logits: Floats) -> NDArray[np.float64]:
    """Probabilities [N, K] of logits [N, K]."""
    powers: NDArray[np.float64] = np.exp(logits.astype(np.float64) - logits.max(1, keepdims=True))
    powers /= powers.sum(1, keepdims=True)
    return powers


def confusion(labels: NDArray[np.int64], predicted: NDArray[np.int64], classes: int) -> NDArray[np.int64]:
    """Counts [K, K]: row = true class, column = predicted class."""
    labelled = labels >= 0
    cells = labels[labelled] * classes + predicted[labelled]
    return np.bincount(cells, minlength=classes * classes).reshape(classes, classes)


def _check_finite(logits: Floats) -> None:
    # A comparison with nan is false, so that without this a broken network could score as perfect.
    broken = int((~np.isfinite(logits)).any(1).sum())
    if broken:
        raise RunError(
            f"the network's outputs are not finite for {broken:,} of {len(logits):,} images. "
            "Lower optimizer.lr, or set trainer.precision=fp32."
        )


def _measure(
    logits: Floats, labels: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.float64]]:
    """For each of N samples: its cross-entropy, the rank of its true class (0 is best), its highest probability."""
    rows = np.arange(len(labels))
    shifted = logits.astype(np.float64) - logits.max(1, keepdims=True)
    log_sums = np.log(np.exp(shifted).sum(1))
    true = shifted[rows, labels]
    # Among equal logits the lower class comes first, as in argmax.
    ahead = (shifted > true[:, None]) | ((shifted == true[:, None]) & (np.arange(logits.shape[1]) < labels[:, None]))
    return log_sums - true, ahead.sum(1), np.exp(-log_sums)


def _macro_f1(matrix: NDArray[np.int64]) -> float:
    """Mean of 2 TP / (true + predicted) over the classes that occur."""
    occurring = matrix.sum(0) + matrix.sum(1)
    there = occurring > 0
    return float(np.mean(2 * matrix.diagonal()[there] / occurring[there]))


def _calibration_error(confidences: NDArray[np.float64], correct: NDArray[np.bool_]) -> float:
    """Expected calibration error over 15 bins of equal width, closed above (Guo et al., 2017)."""
    edges = np.linspace(0, 1, _CALIBRATION_BINS + 1)
    bins = np.digitize(confidences, edges[1:-1], right=True)
    gaps = np.bincount(bins, weights=confidences - correct, minlength=_CALIBRATION_BINS)
    return float(np.abs(gaps).sum() / len(confidences))
