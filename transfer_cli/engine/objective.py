"""The classification loss of a training: which one, and how it meets classes of different size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from transfer_cli.data.balance import class_weights
from transfer_cli.data.reading.listing import Indices
from transfer_cli.methods.losses import cross_entropy, focal, logit_adjustment


@dataclass(frozen=True)
class Objective:
    """Cross-entropy or focal loss; `class_weights` and `adjustment` are [K], on the device of the logits."""

    kind: Literal["cross_entropy", "focal"] = "cross_entropy"
    smoothing: float = 0.0
    gamma: float = 0.0
    class_weights: Tensor | None = None
    adjustment: Tensor | None = None

    def __call__(self, logits: Tensor, targets: Tensor, sample_weights: Tensor | None = None) -> Tensor:
        """The mean over a batch, [], of logits [B, K] and classes [B] or probabilities [B, K]; weights are [B]."""
        if self.adjustment is not None:
            logits = logits.float() + self.adjustment
        weights = self.class_weights
        if self.kind == "focal":
            losses = focal(logits, targets, gamma=self.gamma, smoothing=self.smoothing, class_weights=weights)
        else:
            losses = cross_entropy(logits, targets, smoothing=self.smoothing, class_weights=weights)
        return losses.mean() if sample_weights is None else (losses * sample_weights).mean()


def weights_for(labels: Indices, classes: int, how: str, device: torch.device) -> Tensor | None:
    """How much each class counts, [K], from the labels that are trained on; None where all count alike."""
    return None if how == "none" else torch.from_numpy(class_weights(labels, classes, how)).to(device)


def adjustment_for(labels: Indices, classes: int, tau: float, device: torch.device) -> Tensor | None:
    """What is added to logits in training, [K]; None for `tau` 0. Raises UserError for a class without images."""
    if tau == 0:
        return None
    counts = torch.bincount(torch.from_numpy(labels), minlength=classes)
    return logit_adjustment(counts, tau).to(device)
