"""Regularisers beside the classification loss: `REGULARIZERS` has each under the name of its block of options.

One is a dataclass of its options, a function that makes it ready for a network, and a row of the table.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from transfer_cli.config.convert import Count, NotNegative, convert
from transfer_cli.errors import UserError, did_you_mean, unknown
from transfer_cli.methods import penalties
from transfer_cli.methods.adapters import is_adapter
from transfer_cli.models.network import Network
from transfer_cli.models.taps import forward_taps
from transfer_cli.strategies.trainable import Trainable, stage_of


@dataclass(frozen=True)
class ForwardPass:
    """What one step computed: the inputs of stage number `first`, the lowest that trains now, and later features."""

    network: Network
    first: int
    activations: Tensor
    features: Mapping[str, Tensor]


@dataclass(frozen=True)
class Regularizer:
    """What is added to the mean loss of a batch, [], by the features of the stages `taps`; frozen ones show none."""

    compute: Callable[[ForwardPass], Tensor]
    taps: tuple[str, ...] = ()

    def __call__(self, made: ForwardPass) -> Tensor:
        """[], on the device of the batch."""
        return self.compute(made)


@dataclass(frozen=True)
class Source:
    """The network as it was before training, for regularisers that compare with it; it never changes."""

    network: Network
    channel_weights: Callable[[tuple[str, ...]], dict[str, Tensor]]
    """By stage, how much each channel matters for the new classes, [C]."""


@dataclass(frozen=True)
class L2Sp:
    """alpha/2 times the squared distance to the start, beta/2 times the squared size of the head; 0: off."""

    alpha: NotNegative
    beta: NotNegative


def _l2_sp(options: L2Sp, training: Trainable, source: Source | None) -> Regularizer:
    """Explicit inductive bias for transfer learning with convolutional networks (Li 2018, arXiv 1802.01483)."""
    if options.alpha > 0 and any(is_adapter(name) for name in training.names):
        raise UserError(
            f"strategy.l2sp.alpha={options.alpha}: with strategy.adapter=lora or linear the weights never move; "
            "leave one of them out."
        )
    network, head = training.network, len(training.network.stages) - 1
    start = {
        name: parameter.detach().clone()
        for name, parameter in network.module.named_parameters()
        if name in training.names and stage_of(network, name) != head
    }

    def compute(made: ForwardPass) -> Tensor:
        # What has not thawed yet stands at its start.
        named = made.network.module.named_parameters()
        moving = {name: p for name, p in named if name in training.names and p.requires_grad}
        return penalties.l2_sp(moving, start, options.alpha, options.beta)

    return Regularizer(compute)


@dataclass(frozen=True)
class Bss:
    """`weight` times the squares of the `k` smallest singular values of a batch's features; 0: off."""

    weight: NotNegative
    k: Count


def _bss(options: Bss, training: Trainable, source: Source | None) -> Regularizer:
    """Catastrophic forgetting meets negative transfer: batch spectral shrinkage (Chen 2019, NeurIPS)."""
    _check_features_change("bss", training)

    def compute(made: ForwardPass) -> Tensor:
        features = made.features.get("pool")
        return _nothing(made) if features is None else options.weight * penalties.bss(features, options.k)

    return Regularizer(compute, ("pool",))


@dataclass(frozen=True)
class Delta:
    """`weight` times the distance to the source network's features at `stages`; none: the last before pooling."""

    weight: NotNegative
    stages: tuple[str, ...]


def _delta(options: Delta, training: Trainable, source: Source | None) -> Regularizer:
    """DELTA: deep learning transfer using feature map with attention (Li 2019, arXiv 1901.09229)."""
    _check_features_change("delta", training)
    taps = _delta_stages(training, options)
    if source is None:
        # A step costs the same whatever it is compared with.
        network, weights = training.network, {}
    else:
        network, weights = source.network, source.channel_weights(taps)

    def compute(made: ForwardPass) -> Tensor:
        names = [name for name in taps if name in made.features]
        if not names:
            return _nothing(made)
        with torch.no_grad():
            _, theirs = forward_taps(network.eval(), made.activations, names, made.first)
        ours = [made.features[name] for name in names]
        attention = [weights.get(name, _alike(features)) for name, features in zip(names, ours, strict=True)]
        return options.weight * penalties.delta(ours, [theirs[name] for name in names], attention)

    return Regularizer(compute, taps)


def _delta_stages(training: Trainable, options: Delta) -> tuple[str, ...]:
    """The stages whose features are compared. Raises UserError for one that there is not, or that never changes."""
    body = [stage.name for stage in training.network.stages[:-2]]
    if not body:
        raise UserError("strategy.delta: this model has no stage before its pooling whose features could be compared.")
    for name in options.stages:
        if name not in body:
            raise unknown("strategy.delta.stages", name, body)
        if body.index(name) < training.boundary:
            raise UserError(f"strategy.delta.stages={name}: this stage is frozen, its features never change.")
    return options.stages or (body[-1],)


def _alike(features: Tensor) -> Tensor:
    """The same weight for every channel of features [B, C, ...], [C]."""
    return torch.full((features.shape[1],), 1 / features.shape[1], device=features.device)


def _nothing(made: ForwardPass) -> Tensor:
    return torch.zeros((), device=made.activations.device)


def _check_features_change(name: str, training: Trainable) -> None:
    if not training.network.has_features:
        raise UserError(f"strategy.{name}: this model has no features [B, D] before its head.")
    if training.boundary == len(training.network.stages) - 1:
        raise UserError(f"strategy.{name}: with strategy.unfreeze=head features never change; let more than it train.")


@dataclass(frozen=True)
class RegularizerKind:
    """One row of the table: the options, the function that makes a regulariser of them, and what it needs."""

    options: type
    ready: Callable[[Any, Trainable, Source | None], Regularizer]
    is_on: Callable[[Any], bool] = lambda options: bool(options.weight > 0)
    compares: bool = False
    """Whether it compares with the source network."""


REGULARIZERS = {
    "l2sp": RegularizerKind(L2Sp, _l2_sp, is_on=lambda options: options.alpha > 0 or options.beta > 0),
    "bss": RegularizerKind(Bss, _bss),
    "delta": RegularizerKind(Delta, _delta, compares=True),
}


@dataclass(frozen=True)
class ChosenRegularizers:
    """The regularisers that a command switches on, each with its options."""

    options: Mapping[str, Any]

    @property
    def compare(self) -> bool:
        """Whether one of them compares with the source network."""
        return any(REGULARIZERS[name].compares for name in self.options)

    def for_timing(self, training: Trainable) -> dict[str, Regularizer]:
        """Each at the price of a step, without what it compares with.

        Raises UserError for options that what trains cannot have.
        """
        return self.ready(training, None)

    def ready(self, training: Trainable, source: Source | None) -> dict[str, Regularizer]:
        """Each for a network, before its first step; `source` is there where one compares with it."""
        return {name: REGULARIZERS[name].ready(options, training, source) for name, options in self.options.items()}


def chosen_regularizers(blocks: Mapping[str, Mapping[str, Any]], key: str = "strategy") -> ChosenRegularizers:
    """From the blocks of options of strategy=finetune, which lie at `key`. Raises UserError naming every wrong key."""
    problems: list[str] = []
    found = {}
    for name, block in blocks.items():
        if name in REGULARIZERS:
            found[name] = convert(block, REGULARIZERS[name].options, f"{key}.{name}", problems)
        else:
            problems.append(f"{key}.{name}: no such key.{did_you_mean(name, REGULARIZERS, f'{key}.')}")
    if problems:
        raise UserError("\n".join(problems))
    return ChosenRegularizers({name: options for name, options in found.items() if REGULARIZERS[name].is_on(options)})
