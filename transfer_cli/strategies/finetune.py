"""Finetune: adapt the pretrained network from a stage boundary on; what lies before stays exactly as it was."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

from transfer_cli.data.batches import Batch
from transfer_cli.engine.strategy import ParameterGroup, StepResult
from transfer_cli.models.network import run_frozen
from transfer_cli.models.taps import forward_taps
from transfer_cli.strategies.groups import Rates, parameter_groups
from transfer_cli.strategies.objective import Objective
from transfer_cli.strategies.penalties import Penalty, Seen
from transfer_cli.strategies.trainable import Trainable


class Finetune:
    """A classification loss, and penalties, on what `trainable` says."""

    def __init__(
        self, trainable: Trainable, rates: Rates, objective: Objective, penalties: Sequence[Penalty] = ()
    ) -> None:
        self.network = trainable.network
        self.trainable, self.rates, self.objective = trainable, rates, objective
        self.penalties = penalties
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
        activations = self._frozen(batch.inputs)
        logits, features = self._forward(activations)
        targets = batch.extras.get("targets", batch.labels)
        loss = self.objective(logits, targets, batch.extras.get("weight"))
        if self.penalties:
            seen = Seen(self.network, self.first, activations, features)
            loss = loss + torch.stack([penalty(seen) for penalty in self.penalties]).sum()
        return StepResult(loss, logits)

    def _frozen(self, inputs: Tensor) -> Tensor:
        """What stage `first` takes."""
        if self.start == self.first:
            return inputs
        with torch.no_grad():
            return run_frozen(partial(self.network.forward_between, self.start, self.first), inputs)

    def _forward(self, activations: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Logits, and the features that penalties look at of the stages that train."""
        training = [stage.name for stage in self.network.stages[self.first :]]
        taps = {name for penalty in self.penalties for name in penalty.taps if name in training}
        if taps:
            return forward_taps(self.network, activations, taps, self.first)
        whole = self.first == 0
        return (self.network(activations) if whole else self.network.forward_from(self.first, activations)), {}
