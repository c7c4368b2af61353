"""`predictions.csv`: one row an image, what it is and what the network says."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from transfer_cli.csv_files import write_csv
from transfer_cli.records.events import Recorder, RunEnd

NAME = "predictions.csv"
COLUMNS = ("path", "label", "predicted", "confidence")


def write_predictions(
    path: Path,
    ids: Sequence[str],
    labels: NDArray[np.int64] | None,
    classes: Sequence[str],
    probabilities: NDArray[np.float32] | NDArray[np.float64],
) -> None:
    """Write N rows atomically, in the order of `ids`; labels [N], probabilities [N, K].

    The label is empty where it is unknown (no labels, or -1). Raises OSError.
    """
    predicted = probabilities.argmax(1)
    known = labels if labels is not None else np.full(len(ids), -1)
    rows = [
        [name, classes[label] if label >= 0 else None, classes[guess], f"{probabilities[row, guess]:.6f}"]
        for row, (name, label, guess) in enumerate(zip(ids, known, predicted, strict=True))
    ]
    write_csv(path, COLUMNS, rows)


class PredictionsRecorder(Recorder):
    """Writes `predictions.csv` of the test split."""

    def tested(self, end: RunEnd) -> None:
        """One row a test image. Raises OSError."""
        if end.predictions is not None:
            found = end.predictions
            found.task.write_predictions(end.directory / NAME, found.ids, found.outputs, found.labels)
