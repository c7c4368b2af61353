"""The table of parameter groups of a training, said in a line and written into its run directory."""

from __future__ import annotations

from transfer_cli.config_optimizers import Optimizer
from transfer_cli.records.parameters import Row
from transfer_cli.strategies.base import Strategy
from transfer_cli.strategies.trainable import stage_of


def rows(strategy: Strategy, optimizer: Optimizer) -> list[Row]:
    """A row for each group, and one for what is frozen of each stage, from the lowest stage up.

    What trains beside the network comes last.
    """
    network = strategy.network
    order = {stage.name: number for number, stage in enumerate(network.stages)}
    groups = strategy.parameter_groups()
    training = {name for group in groups for name in group.parameters}
    frozen: dict[str, int] = {}
    for name, parameter in network.module.named_parameters():
        if name not in training:
            stage = network.stages[stage_of(network, name)].name
            frozen[stage] = frozen.get(stage, 0) + parameter.numel()
    found = [Row(stage, count) for stage, count in frozen.items()]
    for group in groups:
        count = sum(parameter.numel() for parameter in group.parameters.values())
        decay = optimizer.weight_decay if group.decay else 0.0
        found.append(Row(group.stage, count, optimizer.lr * group.lr_multiplier, decay, group.thaw_epoch + 1))
    return sorted(found, key=lambda row: order.get(row.stage, len(order)))
