"""From the options of finetuning to a strategy over a network."""

from __future__ import annotations

import copy

from transfer_cli.config.finetune import Finetune as Config
from transfer_cli.errors import UserError, unknown
from transfer_cli.models.network import Network
from transfer_cli.strategies.adapting import adapt
from transfer_cli.strategies.finetune import Finetune
from transfer_cli.strategies.groups import Rates
from transfer_cli.strategies.objective import Objective
from transfer_cli.strategies.penalties import Bss, Delta, L2Sp, Penalty
from transfer_cli.strategies.trainable import Trainable, selected, thawing


def build_strategy(network: Network, config: Config, epochs: int) -> Finetune:
    """The strategy over a network that is loaded and on its device; it may get adapters.

    Raises UserError for options that this network cannot have.
    """
    if not network.has_features and (config.bss.weight or config.delta.weight):
        raise UserError("strategy.bss, strategy.delta: this model has no features [B, D] before its head.")
    # Copied before the network gets adapters.
    source = copy.deepcopy(network) if config.delta.weight else None
    names = selected(network, config.unfreeze, config.batch_norm)
    names = adapt(network, names, config.adapter, config.adapter_rank, config.adapter_alpha)
    training = thawing(network, names, gradual=config.gradual, epochs=epochs)
    return Finetune(
        training,
        Rates(config.layer_decay, config.head_lr, config.lr_rules),
        Objective(config.loss, config.label_smoothing, config.focal_gamma),
        _penalties(training, config, source),
    )


def _penalties(training: Trainable, config: Config, source: Network | None) -> list[Penalty]:
    penalties: list[Penalty] = []
    if config.l2sp.alpha or config.l2sp.beta:
        penalties.append(L2Sp(training, config.l2sp.alpha, config.l2sp.beta))
    if config.bss.weight:
        penalties.append(Bss(config.bss.weight, config.bss.k))
    if source is not None:
        penalties.append(Delta(config.delta.weight, _delta_stages(training, config), source))
    return penalties


def _delta_stages(training: Trainable, config: Config) -> tuple[str, ...]:
    """The stages whose features are compared. Raises UserError for one that there is not, or that never changes."""
    body = [stage.name for stage in training.network.stages[:-2]]
    for name in config.delta.stages:
        if name not in body:
            raise unknown("strategy.delta.stages", name, body)
        if body.index(name) < training.boundary:
            raise UserError(f"strategy.delta.stages={name}: this stage is frozen, its features never change.")
    return config.delta.stages or (body[-1],)
