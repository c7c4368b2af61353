"""Which parameters train, and from which epoch on: a function of the epoch alone, so that resuming cannot get it wrong.

What is frozen stays byte for byte: no gradients, eval mode, and a BatchNorm of which nothing trains keeps its
statistics.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Literal

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from transfer_cli.config.finetune import Unfreeze
from transfer_cli.errors import UserError
from transfer_cli.methods.adapters import plain_name
from transfer_cli.methods.rates import match
from transfer_cli.models.network import Network

KEY = "strategy.unfreeze"


@dataclass(frozen=True)
class Trainable:
    """The parameters of a network that ever train, thawing stage by stage where `every` (epochs) is above 0."""

    network: Network
    names: frozenset[str]
    every: int = 0

    @functools.cached_property
    def boundary(self) -> int:
        """The first stage that ever trains."""
        return min(stage_of(self.network, name) for name in self.names)

    def boundary_at(self, epoch: int) -> int:
        """The first stage that trains in `epoch` (from 0)."""
        if not self.every:
            return self.boundary
        levels = stage_levels(self.network)
        lowest = levels[self.boundary]
        level = boundary_at(epoch, levels[-1] + 1, every=self.every, lowest=lowest)
        return self.boundary if level == lowest else levels.index(level)

    def thaw_epoch(self, stage: int) -> int:
        """The epoch (from 0) in which a stage begins to train."""
        if not self.every:
            return 0
        levels = stage_levels(self.network)
        epoch = thaw_epoch(levels[stage], levels[-1] + 1, every=self.every, lowest=levels[self.boundary])
        assert epoch is not None
        return epoch

    def apply(self, epoch: int) -> None:
        """Switch gradients and modes to what `epoch` trains."""
        boundary, network = self.boundary_at(epoch), self.network
        for name, parameter in network.module.named_parameters():
            parameter.requires_grad_(name in self.names and stage_of(network, name) >= boundary)
        set_modes(network, boundary)
        for layer in network.modules():
            if isinstance(layer, _BatchNorm) and not any(p.requires_grad for p in layer.parameters()):
                layer.eval()


def thawing(network: Network, names: set[str], *, gradual: int, epochs: int) -> Trainable:
    """Parameters that train from the epoch on in which their stage thaws, without what thaws only after `epochs`."""
    if gradual:
        levels = stage_levels(network)
        reached = boundary_at(max(epochs - 1, 0), levels[-1] + 1, every=gradual)
        names = {name for name in names if levels[stage_of(network, name)] >= reached}
    return Trainable(network, frozenset(names), gradual)


def selected(network: Network, unfreeze: Unfreeze, batch_norm: Literal["train", "frozen"]) -> set[str]:
    """Names of the parameters that `unfreeze` means; the head is always among them.

    Raises UserError for a pattern that matches nothing, and for more stages than there are.
    """
    frozen = _batch_norm_names(network) if batch_norm == "frozen" else set()
    return _selected(network, unfreeze) - frozen


def names_of_stages(network: Network) -> dict[str, set[str]]:
    """The names of the parameters of each stage, by the stage's name."""
    found: dict[str, set[str]] = {stage.name: set() for stage in network.stages}
    for name, _ in network.module.named_parameters():
        found[network.stages[stage_of(network, name)].name].add(name)
    return found


def _selected(network: Network, unfreeze: Unfreeze) -> set[str]:
    names = [name for name, _ in network.module.named_parameters()]
    if isinstance(unfreeze, tuple):
        head = len(network.stages) - 1
        return {
            *match(names, unfreeze, KEY, names_of_stages(network)),
            *(name for name in names if stage_of(network, name) == head),
        }
    boundary = _boundary(network, unfreeze)
    return {name for name in names if stage_of(network, name) >= boundary}


def stage_levels(network: Network) -> list[int]:
    """The number of each stage as people count them, from 0: `pool` goes with the stage below it."""
    levels: list[int] = []
    for stage in network.stages:
        beside = stage.name == "pool" and bool(levels)
        levels.append(levels[-1] if beside else len(set(levels)))
    return levels


def stage_of(network: Network, name: str) -> int:
    """The number of the stage that a parameter, or an adapter's, belongs to."""
    return network.stage_of(plain_name(name))


def set_modes(network: Network, boundary: int) -> None:
    """Training mode from `boundary` on; before it eval mode, so that BatchNorm, dropout and stochastic depth rest."""
    network.train()
    for stage in network.stages[:boundary]:
        for prefix in stage.modules:
            part = _submodule(network.module, prefix)
            if part is not None:
                part.eval()


def _boundary(network: Network, unfreeze: str | int) -> int:
    if unfreeze == "all":
        return 0
    levels = stage_levels(network)
    count = 0 if unfreeze == "head" else int(unfreeze)
    if count > levels[-1]:
        if not levels[-1]:
            raise UserError(f"{KEY}={unfreeze}: this model is one stage, and trains whole: say {KEY}=all.")
        names = [stage.name for stage in network.stages[:-1] if stage.name != "pool"]
        raise UserError(
            f"{KEY}={unfreeze}: this model has {len(names)} stages below its head ({', '.join(names)}); "
            f"{KEY}=all trains them all."
        )
    return levels.index(levels[-1] - count)


def _batch_norm_names(network: Network) -> set[str]:
    layers = {path: layer for path, layer in network.module.named_modules() if isinstance(layer, _BatchNorm)}
    return {f"{path}.{name}" for path, layer in layers.items() for name, _ in layer.named_parameters()}


def _submodule(module: nn.Module, prefix: str) -> nn.Module | None:
    """The module of that name; None where the prefix names a parameter, such as a class token."""
    try:
        return module.get_submodule(prefix)
    except AttributeError:
        return None


def boundary_at(epoch: int, stages: int, *, every: int, lowest: int = 0) -> int:
    """The first stage that trains in `epoch` (from 0), of `stages` stages; all above it train too (Howard 2018).

    The head trains from the start; every `every` epochs the next stage below thaws, down to stage `lowest`.
    """
    return max(lowest, stages - 1 - epoch // every)


def thaw_epoch(stage: int, stages: int, *, every: int, lowest: int = 0) -> int | None:
    """The epoch in which a stage begins to train; None for one below `lowest`, which never does."""
    return every * (stages - 1 - stage) if stage >= lowest else None
