"""What `predictions.csv` tells of a test split: confusions, scores of each class, calibration, the images to look at.

Everything comes from that file, so that a page can be made again long after the network is gone.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from transfer_cli.csv_files import csv_cell
from transfer_cli.records.predictions import COLUMNS

BINS = 15
"""Of the reliability diagram: as many as the ECE of the scores has."""
_UNKNOWN = -1

Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Predicted:
    """N images of a test split, in its order."""

    paths: Sequence[str]
    """As the file writes them, where a formula or a control character is escaped."""
    labels: Integers
    """[N], -1 where an image has none."""
    guesses: Integers
    """[N]"""
    confidence: NDArray[np.float64]
    """[N], of the guess."""
    classes: tuple[str, ...]

    @property
    def known(self) -> NDArray[np.bool_]:
        """[N]: which images have a label."""
        known: NDArray[np.bool_] = self.labels >= 0
        return known

    @property
    def right(self) -> NDArray[np.bool_]:
        """[N]: which images were called what they are; none without a label."""
        right: NDArray[np.bool_] = self.labels == self.guesses
        return right

    @property
    def wrong(self) -> NDArray[np.bool_]:
        """[N]: which images were called something else than their label."""
        return self.known & ~self.right

    @property
    def confusion(self) -> Integers:
        """Counts [K, K]: row = true class, column = predicted class."""
        count = len(self.classes)
        cells = self.labels[self.known] * count + self.guesses[self.known]
        return np.bincount(cells, minlength=count * count).reshape(count, count)

    def mistakes(self, count: int) -> list[int]:
        """The images that it was surest of and wrong about, the surest first."""
        wrong = np.flatnonzero(self.wrong)
        return [int(row) for row in wrong[np.argsort(-self.confidence[wrong], kind="stable")][:count]]

    def uncertain(self, count: int) -> list[int]:
        """The images that it was least sure of, right or wrong."""
        return [int(row) for row in np.argsort(self.confidence, kind="stable")[:count]]


def read_predicted(path: Path, classes: Sequence[str]) -> Predicted:
    """The predictions of a run with these classes. Raises OSError, ValueError for a file that holds something else."""
    with path.open(encoding="utf-8", newline="") as file:
        try:
            lines: list[list[str]] = [*csv.reader(file)]
        except csv.Error as error:
            raise ValueError(str(error)) from error
    if not lines or tuple(lines[0]) != COLUMNS:
        raise ValueError(f"its columns are not {', '.join(COLUMNS)}")
    numbers = {"": _UNKNOWN, **{str(csv_cell(name)): number for number, name in enumerate(classes)}}
    rows = [line for line in lines[1:] if line]
    try:
        labels = np.array([numbers[row[1]] for row in rows], dtype=np.int64)
        guesses = np.array([numbers[row[2]] for row in rows], dtype=np.int64)
        confidence = np.array([float(row[3]) for row in rows])
    except (KeyError, IndexError) as error:
        raise ValueError(f"{str(error)[:80]} is no class of the run") from error
    if len(guesses) and guesses.min() < 0:
        raise ValueError("an image has no prediction")
    return Predicted([row[0] for row in rows], labels, guesses, confidence, tuple(classes))


@dataclass(frozen=True)
class OfClass:
    """How one class did; None where nothing was there to be found, or nothing was called so."""

    name: str
    images: int
    right: int
    precision: float | None
    recall: float | None
    f1: float | None
    taken_for: str | None
    """The class that its images are most often taken for."""
    taken: int


def by_class(matrix: Integers, classes: Sequence[str]) -> list[OfClass]:
    """A row for each class, in their order, from counts [K, K]."""
    wrong = matrix.copy()
    np.fill_diagonal(wrong, 0)
    rows = []
    for number, name in enumerate(classes):
        images, called, right = int(matrix[number].sum()), int(matrix[:, number].sum()), int(matrix[number, number])
        other = int(wrong[number].argmax())
        taken = int(wrong[number, other])
        rows.append(
            OfClass(
                name,
                images,
                right,
                precision=right / called if called else None,
                recall=right / images if images else None,
                f1=2 * right / (images + called) if images + called else None,
                taken_for=classes[other] if taken else None,
                taken=taken,
            )
        )
    return rows


@dataclass(frozen=True)
class Confused:
    """Images of one class that were taken for another."""

    true: str
    predicted: str
    count: int
    share: float
    """Of the images of the true class."""


def most_confused(matrix: Integers, classes: Sequence[str], count: int) -> list[Confused]:
    """The pairs of classes, in one direction, with the most mistakes."""
    rows, columns = matrix.nonzero()
    off = rows != columns
    rows, columns = rows[off], columns[off]
    most = np.argsort(-matrix[rows, columns], kind="stable")[:count]
    return [
        Confused(classes[true], classes[guess], int(matrix[true, guess]), matrix[true, guess] / matrix[true].sum())
        for true, guess in zip(rows[most].tolist(), columns[most].tolist(), strict=True)
    ]


@dataclass(frozen=True)
class Bin:
    """Images of about the same confidence."""

    low: float
    high: float
    images: int
    accuracy: float
    confidence: float
    """Their mean."""


def calibration(found: Predicted) -> tuple[list[Bin], float]:
    """The bins that hold images, of equal width and closed above, and the expected calibration error over them."""
    confidence = found.confidence[found.known]
    right = found.right[found.known]
    edges = np.linspace(0, 1, BINS + 1)
    places = np.searchsorted(edges[1:-1], confidence, side="left")
    bins, error = [], 0.0
    for number in np.unique(places):
        inside = places == number
        one = Bin(
            float(edges[number]),
            float(edges[number + 1]),
            int(inside.sum()),
            float(right[inside].mean()),
            float(confidence[inside].mean()),
        )
        bins.append(one)
        error += one.images / len(confidence) * abs(one.accuracy - one.confidence)
    return bins, error
