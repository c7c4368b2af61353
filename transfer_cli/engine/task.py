"""What is learnt: the type of its labels, the width of its head, its loss and scores, and which score picks an epoch.

What depends on the kind of label asks a task. A task of another kind (several labels an image, a number) is another
class here, chosen in `task_of`, with its own scores beside methods/scores.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from transfer_cli.config.finetune import Finetune
from transfer_cli.config.schema import Dataset, Experiment
from transfer_cli.engine.objective import Objective, adjustment_for, weights_for
from transfer_cli.methods import scores as classification_scores
from transfer_cli.methods.scores import Rank, Scores, Tally, softmax
from transfer_cli.records import plots
from transfer_cli.records.events import PredictionWriter
from transfer_cli.records.predictions import write_predictions

Labels = NDArray[np.int64]
Outputs = NDArray[np.float32]


class Sums(Protocol):
    """Sums over the batches of an evaluation, on the device."""

    def add(self, outputs: Tensor, labels: Tensor) -> None:
        """Count a batch: outputs of the network [B, width] and labels [B, ...]."""
        ...

    def part(self) -> Any:
        """What other ranks need of this one's batches."""
        ...

    def join(self, parts: Sequence[Any]) -> None:
        """Be the sums over the batches of all ranks, from the `part` of each, by rank."""
        ...

    def scores(self) -> Scores:
        """Every score by its name; `loss` is one of them. The device synchronises here."""
        ...


class Task(PredictionWriter, Protocol):
    """What is predicted for an image."""

    @property
    def metric(self) -> str:
        """The score that chooses the best epoch."""
        ...

    @property
    def width(self) -> int:
        """How many numbers the head gives for an image."""
        ...

    def objective(self, config: Finetune, dataset: Dataset, labels: Labels, device: torch.device) -> Objective:
        """The loss of a training on `labels` [N, ...]."""
        ...

    def right(self, outputs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Two scalars, int64: how many of a batch are right, and how many have a label to be compared with."""
        ...

    def sums(self, device: torch.device) -> Sums:
        """Sums of nothing yet."""
        ...

    def scores(self, outputs: Outputs, labels: Labels) -> Scores:
        """The scores of outputs [N, width] and labels [N, ...] in memory."""
        ...

    def rank(self, scores: Mapping[str, float]) -> Rank:
        """Where scores stand by `metric`, the larger the better."""
        ...


@dataclass(frozen=True)
class Classification:
    """One of K classes for each image; labels are int64 [N], -1 for none."""

    classes: tuple[str, ...]
    metric: str = "accuracy"

    @property
    def width(self) -> int:
        """K."""
        return len(self.classes)

    def objective(self, config: Finetune, dataset: Dataset, labels: Labels, device: torch.device) -> Objective:
        """Cross-entropy or focal loss, for classes of different size as the options say.

        Raises UserError where the options need an image of every class and one has none.
        """
        weights = weights_for(labels, self.width, dataset.class_weights, device)
        adjustment = adjustment_for(labels, self.width, config.logit_adjustment, device)
        return Objective(config.loss, config.label_smoothing, config.focal_gamma, weights, adjustment)

    def right(self, outputs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Images without a label are neither right nor wrong."""
        return (outputs.argmax(1) == labels).sum(), (labels >= 0).sum()

    def sums(self, device: torch.device) -> Tally:
        """Counts by class, cross-entropy and calibration; logits are kept for AUROC alone."""
        return Tally(self.width, device, keep_logits=self.metric == "auroc")

    def scores(self, outputs: Outputs, labels: Labels) -> Scores:
        """Accuracies, macro F1, cross-entropy, calibration; AUROC where it is the metric."""
        return classification_scores.scores(outputs, labels, auroc=self.metric == "auroc")

    def rank(self, scores: Mapping[str, float]) -> Rank:
        """By the metric, then by the lower loss."""
        return classification_scores.rank(scores, self.metric)

    def write_predictions(self, path: Path, ids: Sequence[str], outputs: Outputs, labels: Labels) -> None:
        """Path, label, predicted class and its probability."""
        write_predictions(path, ids, labels, self.classes, softmax(outputs))

    def draw(self, folder: Path, outputs: Outputs, labels: Labels) -> None:
        """The confusion matrix."""
        matrix = classification_scores.confusion(labels, outputs.argmax(1), self.width)
        plots.confusion_matrix(matrix, self.classes, folder / "confusion_matrix.png")


def task_of(e: Experiment, classes: tuple[str, ...]) -> Task:
    """The task of an experiment on images of these classes."""
    return Classification(classes, e.trainer.metric)
