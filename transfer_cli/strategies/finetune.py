"""Finetune: adapt the pretrained network from a stage boundary on; what lies before stays exactly as it was."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from transfer_cli.data.batches import Batch
from transfer_cli.models.network import run_frozen
from transfer_cli.strategies.base import ParameterGroup, StepResult
from transfer_cli.strategies.groups import Rates, parameter_groups
from transfer_cli.strategies.objective import Objective
from transfer_cli.strategies.trainable import Trainable


class Finetune:
    """A classification loss on what `trainable` says."""

    def __init__(self, trainable: Trainable, rates: Rates, objective: Objective) -> None:
        self.network = trainable.network
        self.trainable, self.rates, self.objective = trainable, rates, objective
        self.boundary = trainable.boundary
        self.start = 0
        """The stage that batches enter at: `boundary` where the activations before it are known."""
        self.first = self.boundary
        """The first stage that trains in this epoch."""

    def parameter_groups(self) -> list[ParameterGroup]:
        """Groups by stage and rate; nothing decays on biases and norms."""
        return parameter_groups(self.trainable, self.rates)

    def train_mode(self, epoch: int) -> None:
        """See Strategy."""
        self.trainable.apply(epoch)
        self.first = self.trainable.boundary_at(epoch)

    def step(self, batch: Batch) -> StepResult:
        """The loss of one batch; nothing is kept for the backward pass of frozen stages."""
        logits = self._logits(batch.inputs)
        return StepResult(self.objective(logits, batch.extras.get("targets", batch.labels)), logits)

    def _logits(self, inputs: Tensor) -> Tensor:
        if self.first == 0:
            return self.network.forward(inputs)
        if self.start < self.first:
            with torch.no_grad():
                inputs = run_frozen(partial(self.network.forward_between, self.start, self.first), inputs)
        return self.network.forward_from(self.first, inputs)
