"""Parameter groups: stage by stage, each with its rate, and with weight decay on weights alone."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from typing import Any

from torch import nn

from transfer_cli.config.auto import chosen
from transfer_cli.config.optimizers import Optimizer
from transfer_cli.engine.strategy import ParameterGroup
from transfer_cli.errors import UserError
from transfer_cli.methods.adapters import plain_name
from transfer_cli.methods.rates import layer_multiplier, match, pattern_multipliers
from transfer_cli.models.network import Network
from transfer_cli.records.parameters import Row
from transfer_cli.strategies.trainable import Trainable, names_of_stages, stage_levels, stage_of

KEY = "strategy.lr_rules"
# Of torchvision's models.
UNDECAYED = ("class_token", "pos_embedding", "relative_position_bias_table")


@dataclass(frozen=True)
class Rates:
    """How rates differ, as multiples of the base rate; all that applies to a parameter is multiplied."""

    layer_decay: float = 1.0
    head: float = 1.0
    rules: Sequence[tuple[str, float]] = ()


def parameter_groups(trainable: Trainable, rates: Rates) -> list[ParameterGroup]:
    """All that ever trains, from the lowest stage up: apart by rate, and what does not decay from what does.

    Raises UserError for a rule without effect.
    """
    network = trainable.network
    multipliers = _multipliers(trainable, rates)
    decaying = _decaying(network)
    groups: dict[tuple[int, float, bool], dict[str, nn.Parameter]] = defaultdict(dict)
    for name, parameter in network.module.named_parameters():
        if name in trainable.names:
            groups[stage_of(network, name), multipliers[name], name in decaying][name] = parameter
    return [
        ParameterGroup(network.stages[stage].name, parameters, multiplier, decay, trainable.thaw_epoch(stage))
        for (stage, multiplier, decay), parameters in sorted(
            groups.items(), key=lambda group: (group[0][0], -group[0][1], not group[0][2])
        )
    ]


def _decaying(network: Network) -> set[str]:
    """Parameters whose weights decay: neither biases and norms (one dimension), nor tokens and places.

    A class token or a position embedding says what a token is, and does not scale with what goes through it: timm's
    models name theirs, torchvision's are known by their names, and neither library's recipes decay them.
    """
    patterns: Any = getattr(network.module, "no_weight_decay", set)()
    weights = [name for name, parameter in network.module.named_parameters() if parameter.ndim > 1]
    return {
        name
        for name in weights
        if not name.endswith(UNDECAYED) and not any(fnmatch(plain_name(name), str(pattern)) for pattern in patterns)
    }


def _multipliers(trainable: Trainable, rates: Rates) -> dict[str, float]:
    network, levels = trainable.network, stage_levels(trainable.network)
    by_rule = _by_rule(trainable, rates.rules)
    multipliers = {}
    for name in trainable.names:
        stage = stage_of(network, name)
        own = layer_multiplier(levels[stage], levels[-1], rates.layer_decay)
        if stage == len(levels) - 1:
            own *= rates.head
        multipliers[name] = own * by_rule.get(name, 1.0)
    return multipliers


def _by_rule(trainable: Trainable, rules: Sequence[tuple[str, float]]) -> dict[str, float]:
    everything = [name for name, _ in trainable.network.module.named_parameters()]
    training = [name for name in everything if name in trainable.names]
    stages = names_of_stages(trainable.network)
    for pattern, _ in rules:
        if not set(match(everything, [pattern], KEY, stages)) & trainable.names:
            raise UserError(f"{KEY}: {pattern} has no effect: all parameters that it matches are frozen.")
    return pattern_multipliers(training, rules, KEY, stages)


def rows(network: Network, groups: Sequence[ParameterGroup], optimizer: Optimizer) -> list[Row]:
    """A row for each group, and one for what is frozen of each stage, from the lowest stage up.

    What a loss learns besides the network comes last.
    """
    order = {stage.name: number for number, stage in enumerate(network.stages)}
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
        found.append(Row(group.stage, count, chosen(optimizer.lr) * group.lr_multiplier, decay, group.thaw_epoch + 1))
    return sorted(found, key=lambda row: order.get(row.stage, len(order)))
