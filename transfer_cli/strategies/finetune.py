"""Finetune: adapt the pretrained network from a stage boundary on; what lies before stays exactly as it was."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from transfer_cli.data.batches import Batch
from transfer_cli.methods.losses import cross_entropy
from transfer_cli.models.network import Network, run_frozen
from transfer_cli.strategies.base import ParameterGroup, StepResult
from transfer_cli.strategies.freezing import freeze, set_modes, stage_groups


class Finetune:
    """Cross-entropy with label smoothing (Szegedy 2016) on the stages from `unfreeze` on: `all` or `head`."""

    def __init__(self, network: Network, unfreeze: str, label_smoothing: float) -> None:
        self.network = network
        self.boundary = {"all": 0, "head": len(network.stages) - 1}[unfreeze]
        self.start = 0
        """The stage that batches enter at: `boundary` where the activations before it are known."""
        self.label_smoothing = label_smoothing
        self.class_weights: Tensor | None = None
        """[K], on the network's device: how the loss weighs classes, 1 on average over the training images."""
        freeze(network, self.boundary)

    def parameter_groups(self) -> list[ParameterGroup]:
        """Groups by stage; nothing decays on biases and norms."""
        return stage_groups(self.network, self.boundary)

    def train_mode(self) -> None:
        """Frozen stages in eval mode, the others in training mode."""
        set_modes(self.network, self.boundary)

    def step(self, batch: Batch) -> StepResult:
        """Cross-entropy of one batch; nothing is kept for the backward pass of frozen stages."""
        logits = self._logits(batch.inputs)
        losses = cross_entropy(logits, batch.labels, smoothing=self.label_smoothing, class_weights=self.class_weights)
        if "weight" in batch.extras:
            losses = losses * batch.extras["weight"]
        return StepResult(losses.mean(), logits)

    def _logits(self, inputs: Tensor) -> Tensor:
        if self.boundary == 0:
            return self.network.forward(inputs)
        if self.start == self.boundary:
            return self.network.forward_from(self.boundary, inputs)
        with torch.no_grad():
            activations = run_frozen(partial(self.network.forward_to, self.boundary), inputs)
        return self.network.forward_from(self.boundary, activations)
