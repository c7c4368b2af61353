"""Finetune: adapt the pretrained network from a stage boundary on; what lies before stays exactly as it was."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from transfer_cli.config.auto import chosen
from transfer_cli.config.finetune import Finetune as Config
from transfer_cli.data.batches import Batch
from transfer_cli.engine.objective import Objective
from transfer_cli.engine.strategy import StepResult
from transfer_cli.models.network import Network, run_frozen
from transfer_cli.models.taps import forward_taps
from transfer_cli.strategies.adapting import adapt
from transfer_cli.strategies.regularizers import ForwardPass, Regularizer
from transfer_cli.strategies.trainable import Trainable, selected, thawing


class Finetune(nn.Module):
    """A classification loss, and regularisers by name, on what `trainable` says."""

    network: Network

    def __init__(
        self, trainable: Trainable, objective: Objective, regularizers: Mapping[str, Regularizer] | None = None
    ) -> None:
        super().__init__()
        self.network = trainable.network
        self.trainable, self.objective = trainable, objective
        self.regularizers = dict(regularizers or {})
        self.first = trainable.boundary
        """The first stage that trains in this epoch."""

    def train_mode(self, epoch: int) -> None:
        """What has thawed by `epoch` trains; what is frozen is in eval mode, so that BatchNorm statistics stay."""
        self.trainable.apply(epoch)
        self.first = self.trainable.boundary_at(epoch)

    def forward(self, batch: Batch) -> StepResult:
        """The loss of one batch; nothing is kept for the backward pass of frozen stages."""
        activations = self._frozen(batch.inputs, batch.stage)
        logits, features = self._forward(activations)
        targets = batch.labels if batch.targets is None else batch.targets
        loss = self.objective(logits, targets, batch.weights)
        if not self.regularizers:
            return StepResult(loss, logits)
        made = ForwardPass(self.network, self.first, activations, features)
        added = {name: regularizer(made) for name, regularizer in self.regularizers.items()}
        parts = {"objective": loss.detach(), **{name: value.detach() for name, value in added.items()}}
        return StepResult(loss + torch.stack(list(added.values())).sum(), logits, parts)

    def _frozen(self, inputs: Tensor, start: int) -> Tensor:
        """What stage `first` takes, from inputs that stage number `start` takes."""
        if start == self.first:
            return inputs
        with torch.no_grad():
            return run_frozen(partial(self.network.forward_between, start, self.first), inputs)

    def _forward(self, activations: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Logits, and the features that regularisers look at of the stages that train."""
        taps = self._taps()
        if taps:
            return forward_taps(self.network, activations, taps, self.first)
        whole = self.first == 0
        return (self.network(activations) if whole else self.network.forward_from(self.first, activations)), {}

    def _taps(self) -> Sequence[str]:
        training = [stage.name for stage in self.network.stages[self.first :]]
        wanted = {name for regularizer in self.regularizers.values() for name in regularizer.taps}
        return [name for name in training if name in wanted]


def make_trainable(network: Network, config: Config, epochs: int) -> Trainable:
    """The parameters that `config` lets train, and when; adapters go into the network where it asks for them.

    Raises UserError for options that this network cannot have.
    """
    names = selected(network, config.unfreeze, chosen(config.batch_norm))
    names = adapt(network, names, config.adapter, config.adapter_rank, config.adapter_alpha)
    return thawing(network, names, gradual=config.gradual, epochs=epochs)
