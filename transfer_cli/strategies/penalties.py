"""Penalties on top of the classification loss, for what one step of finetuning sees."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from transfer_cli.methods import regularizers
from transfer_cli.models.network import Network
from transfer_cli.models.taps import forward_taps
from transfer_cli.strategies.trainable import Trainable, stage_of


@dataclass(frozen=True)
class Seen:
    """A forward pass: what stage number `first`, the lowest that trains now, took, and features of later stages."""

    network: Network
    first: int
    activations: Tensor
    features: Mapping[str, Tensor]


class Penalty(Protocol):
    """What is added to the loss of a batch."""

    @property
    def taps(self) -> tuple[str, ...]:
        """The stages whose features it looks at; a frozen stage has none to show."""
        ...

    def __call__(self, seen: Seen) -> Tensor:
        """What is added to the mean loss of a batch, []."""
        ...


class L2Sp:
    """Distance to the weights at its making, and the size of the head's (Li 2018)."""

    taps: tuple[str, ...] = ()

    def __init__(self, trainable: Trainable, alpha: float, beta: float) -> None:
        network, self.alpha, self.beta = trainable.network, alpha, beta
        head = len(network.stages) - 1
        self.names = trainable.names
        self.start = {
            name: parameter.detach().clone()
            for name, parameter in network.module.named_parameters()
            if name in trainable.names and stage_of(network, name) != head
        }

    def __call__(self, seen: Seen) -> Tensor:
        """See Penalty. What has not thawed yet stands at its start."""
        training = {
            name: p for name, p in seen.network.module.named_parameters() if name in self.names and p.requires_grad
        }
        return regularizers.l2_sp(training, self.start, self.alpha, self.beta)


@dataclass(frozen=True)
class Bss:
    """Batch spectral shrinkage of the features before the head (Chen 2019)."""

    weight: float
    k: int
    taps: tuple[str, ...] = ("pool",)

    def __call__(self, seen: Seen) -> Tensor:
        """See Penalty."""
        shrunk = [regularizers.bss(features, self.k) for features in seen.features.values()]
        return self.weight * sum(shrunk, torch.zeros((), device=seen.activations.device))


@dataclass
class Delta:
    """Attention-weighted distance to the features of the source network (Li 2019)."""

    weight: float
    taps: tuple[str, ...]
    source: Network
    """A copy from before training; it never changes."""
    attention: dict[str, Tensor] = field(default_factory=dict)
    """By stage, the weights of its channels [C]; filled before the first step."""

    def __call__(self, seen: Seen) -> Tensor:
        """See Penalty."""
        names = [name for name in self.taps if name in seen.features]
        if not names:
            return torch.zeros((), device=seen.activations.device)
        with torch.no_grad():
            _, source = forward_taps(self.source.eval(), seen.activations, names, seen.first)
        ours, theirs = [seen.features[name] for name in names], [source[name] for name in names]
        weights = [self._weights(name, features) for name, features in zip(names, ours, strict=True)]
        return self.weight * regularizers.delta(ours, theirs, weights)

    def _weights(self, name: str, features: Tensor) -> Tensor:
        """Alike for all channels until they are known: for timing a step."""
        channels = features.shape[1]
        return self.attention.get(name, torch.full((channels,), 1 / channels, device=features.device))
