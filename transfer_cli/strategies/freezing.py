"""Freezing by stage: no gradients, eval mode, statistics that never move."""

from __future__ import annotations

from torch import nn

from transfer_cli.models.network import Network
from transfer_cli.strategies.base import ParameterGroup


def freeze(network: Network, boundary: int) -> None:
    """Switch gradients off for stages before `boundary` and on from there."""
    for name, parameter in network.module.named_parameters():
        parameter.requires_grad_(network.stage_of(name) >= boundary)


def set_modes(network: Network, boundary: int) -> None:
    """Training mode from `boundary` on; before it eval mode, so that BatchNorm, dropout and stochastic depth rest."""
    network.train()
    for stage in network.stages[:boundary]:
        for prefix in stage.modules:
            part = _submodule(network.module, prefix)
            if part is not None:
                part.eval()


def stage_groups(network: Network, boundary: int) -> list[ParameterGroup]:
    """Two groups for each training stage: weights that decay, and biases and norms (one dimension) that do not."""
    groups = []
    for index in range(boundary, len(network.stages)):
        mine = {name: p for name, p in network.module.named_parameters() if network.stage_of(name) == index}
        for decay in (True, False):
            parameters = {name: p for name, p in mine.items() if (p.ndim > 1) == decay}
            if parameters:
                groups.append(ParameterGroup(network.stages[index].name, parameters, 1.0, decay))
    return groups


def _submodule(module: nn.Module, prefix: str) -> nn.Module | None:
    """The module of that name; None where the prefix names a parameter, such as a class token."""
    try:
        return module.get_submodule(prefix)
    except AttributeError:
        return None
