"""A strategy whose parameters are shared out over ranks, in place of one that each rank has whole."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from transfer_cli.data.batches import Batch
from transfer_cli.engine.ranks.sharding import parts_of, share_out
from transfer_cli.engine.ranks.step import PROBED_SAMPLES, module_of, tried_out
from transfer_cli.engine.ranks.world import World
from transfer_cli.engine.strategy import ParameterGroup, Strategy


def shared_out(
    strategy: Strategy,
    groups: Sequence[ParameterGroup],
    learnt: Mapping[str, nn.Module],
    batch: Batch,
    last_epoch: int,
    world: World,
) -> tuple[Strategy, dict[str, Any]]:
    """A copy of the strategy, shared out, and `groups`, `learnt` and what runs it, `sharded`, of the copy.

    The strategy's own tensors wait on the host until the best weights come back.

    `batch`, on the device, is one that it trains on: what runs together is found by trying it.
    """
    own, device = module_of(strategy), batch.inputs.device
    parameters = {id(parameter): name for name, parameter in own.named_parameters()}
    modules = {id(module): name for name, module in own.named_modules()}
    own.to("cpu")
    ours = copy.deepcopy(strategy)
    trains = module_of(ours).to(device)
    # In bits, whatever each rank has come by.
    world.copy_first(trains)
    sharded = share_out(ours, parts_of(trains, lambda: _try(ours, batch, last_epoch)), world, device)
    parts = dict(trains.named_parameters())

    def ours_of(group: ParameterGroup) -> ParameterGroup:
        return replace(group, parameters={n: parts[parameters[id(p)]] for n, p in group.parameters.items()})

    return ours, {
        "groups": [ours_of(group) for group in groups],
        "learnt": {name: trains.get_submodule(modules[id(module)]) for name, module in learnt.items()},
        "sharded": sharded,
    }


def _try(strategy: Strategy, batch: Batch, last_epoch: int) -> None:
    """What the first epoch computes, and the last, in which all has thawed."""
    for epoch in sorted({0, last_epoch}):
        strategy.train_mode(epoch)
        with torch.no_grad(), tried_out(strategy, batch.inputs.device):
            strategy(batch[:PROBED_SAMPLES])
