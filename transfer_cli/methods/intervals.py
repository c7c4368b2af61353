"""How sure scores are: intervals, by bootstrap where no formula has them, and whether one model is better than another.

Legend: N images, K classes, B resamples.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from transfer_cli.records import wilson

RESAMPLES = 1000
_LEVELS = (2.5, 97.5)
_VALUES_AT_ONCE = 10_000_000
_IMAGES_OF_A_CLASS, _CLASSES_PER_IMAGE = 3, 20
"""So many images of a class, and one for every so many classes, are the least for an interval of a mean over classes:
its bias shrinks with the images of a class, its width with all images. Of 60 simulated cases 200 classes of 2 images
covered macro F1 in 21, of 3 in 45, of 10 in 54 to 60; 20 classes of 2 in 50, of 3 in 54."""

Interval = tuple[float, float]


def score_intervals(confusion: NDArray[np.int64], seed: int) -> dict[str, Interval]:
    """95 % intervals of accuracy, macro F1 and balanced accuracy from counts [K, K] (row = true class).

    That of accuracy is Wilson's, to which nine right of nine may be luck; the others are percentiles over images drawn
    with replacement ("Bootstrap Methods", Efron 1979), which is to draw the cells of the table. As in the rule of plus
    two ("Approximate is better than exact", Agresti and Coull 1998) an image that is right and one that is wrong are
    added, a part in each class: resampling few mistakes knows too little of more. Scores of few images a class are
    biased, those of resamples once more: the interval is moved back by twice what resamples differ on average. Where
    classes are too many for the images of each, that is not enough, and accuracy's is the only one. Scores are defined
    as `methods.scores` has them.
    """
    images, classes = int(confusion.sum()), np.count_nonzero(confusion.sum(1))
    found = {"accuracy": wilson.interval(int(confusion.trace()) / images, images)}
    if images < classes * max(_IMAGES_OF_A_CLASS, classes / _CLASSES_PER_IMAGE):
        return found
    counts = _with_two_more(confusion)
    cells = np.flatnonzero(counts)
    shares = counts.ravel()[cells] / counts.sum()
    drawn = np.random.default_rng(seed).multinomial(images, shares, size=RESAMPLES)
    resampled, centre = (_by_class(values, cells, len(confusion)) for values in (drawn, shares[None]))
    there = np.flatnonzero(confusion)
    own = _by_class(confusion.ravel()[None, there], there, len(confusion))
    for name, values in resampled.items():
        low, high = _percentiles(np.clip(values - 2 * (values.mean() - centre[name][0]), 0.0, 1.0))
        found[name] = (min(low, float(own[name][0])), max(high, float(own[name][0])))
    return found


def _with_two_more(confusion: NDArray[np.int64]) -> NDArray[np.float64]:
    """Counts [K, K] with two images more, in equal parts of all classes that there are: one right and one wrong."""
    counts = confusion.astype(np.float64)
    classes = np.flatnonzero(confusion.sum(1))
    others = np.roll(classes, 1) if len(classes) > 1 else (classes + 1) % len(confusion)
    counts[classes, classes] += 1 / len(classes)
    counts[classes, others] += 1 / len(classes)
    return counts


def _by_class(
    values: NDArray[np.int64] | NDArray[np.float64], cells: NDArray[np.int64], classes: int
) -> dict[str, NDArray[np.float64]]:
    """Macro F1 and balanced accuracy [B] of tables whose `cells` hold `values` [B, cells]."""
    true, predicted = cells // classes, cells % classes
    of_class, called, hits = (np.zeros((len(values), classes)) for _ in range(3))
    for cell, (row, column) in enumerate(zip(true, predicted, strict=True)):
        of_class[:, row] += values[:, cell]
        called[:, column] += values[:, cell]
        if row == column:
            hits[:, row] += values[:, cell]
    with np.errstate(invalid="ignore"):
        f1 = np.nanmean(2 * hits / (of_class + called), axis=1)
        recall = np.nanmean(hits / of_class, axis=1)
    return {"macro_f1": f1, "balanced_accuracy": recall}


def mean_interval(values: NDArray[np.float64], seed: int) -> Interval:
    """The 95 % interval of the mean of values [N], such as losses: percentiles over resamples."""
    rng = np.random.default_rng(seed)
    at_once = max(_VALUES_AT_ONCE // max(len(values), 1), 1)
    means = [
        values[rng.integers(0, len(values), (min(at_once, RESAMPLES - start), len(values)))].mean(1)
        for start in range(0, RESAMPLES, at_once)
    ]
    return _percentiles(np.concatenate(means))


@dataclass(frozen=True)
class Paired:
    """Two models on the same images."""

    only_first: int
    """Images of which the first is right and the second is wrong."""
    only_second: int
    difference: float
    """Accuracy of the first less that of the second."""
    interval: Interval
    """Of the difference, 95 %."""
    p: float
    """How often a difference this large comes about by chance between models that are equally good."""


def paired(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> Paired:
    """McNemar's exact test of which images [N] two models are right ("Note on the sampling error of the difference
    between correlated proportions", McNemar 1947); the interval is by Newcombe's score method for paired shares
    ("Improved confidence intervals for the difference between binomial proportions based on paired data", 1998).
    """
    from scipy.stats import binomtest  # type: ignore[attr-defined]

    count = len(first)
    both, neither = int((first & second).sum()), int((~first & ~second).sum())
    ahead, behind = int((first & ~second).sum()), int((second & ~first).sum())
    p = float(binomtest(ahead, ahead + behind).pvalue) if ahead + behind else 1.0
    interval = _newcombe(both, ahead, behind, neither)
    return Paired(ahead, behind, (ahead - behind) / count, interval, p)


def _newcombe(both: int, ahead: int, behind: int, neither: int) -> Interval:
    count = both + ahead + behind + neither
    one, other = (both + ahead) / count, (both + behind) / count
    (low1, high1), (low2, high2) = wilson.interval(one, count), wilson.interval(other, count)
    spread = (both + ahead) * (behind + neither) * (both + behind) * (ahead + neither)
    phi = (both * neither - ahead * behind) / spread**0.5 if spread else 0.0
    below = (one - low1) ** 2 - 2 * phi * (one - low1) * (high2 - other) + (high2 - other) ** 2
    above = (high1 - one) ** 2 - 2 * phi * (high1 - one) * (other - low2) + (other - low2) ** 2
    difference = one - other
    return difference - max(below, 0.0) ** 0.5, difference + max(above, 0.0) ** 0.5


def _percentiles(values: NDArray[np.float64]) -> Interval:
    low, high = np.percentile(values, _LEVELS)
    return float(low), float(high)
