"""strategy=finetune: what adapts, at which rates, behind which frozen prefix."""

from __future__ import annotations

import torch

from transfer_cli.config import Experiment
from transfer_cli.config_finetune import Finetune
from transfer_cli.engine import states
from transfer_cli.models.network import Network
from transfer_cli.modes import building, prefix
from transfer_cli.modes.building import Materials
from transfer_cli.modes.looped import Craft, Looped, Setup, choose_compute
from transfer_cli.records.terminal import Reporter
from transfer_cli.strategies import finetune
from transfer_cli.strategies.groups import Rates
from transfer_cli.strategies.objective import Objective, adjustment_for, weights_for
from transfer_cli.strategies.trainable import trainable


def prepare(experiment: Experiment, reporter: Reporter, state: states.State | None) -> Looped:
    """Build network and strategy, decode the images. Raises UserError for what the user's input makes impossible."""
    e, config = experiment, experiment.strategy
    assert isinstance(config, Finetune)
    m = building.gather(e, e.augment, reporter)
    network, report = building.build_network(m, len(m.images.classes), drop_path=config.drop_path)
    network.to(m.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    strategy = build_strategy(network, config, e.trainer.epochs)
    compute = choose_compute(m, strategy, report, state, reporter)
    m = building.with_pixels(m, reporter)
    inputs = prefix.choose(m, network, strategy.boundary, config.cache, compute, reporter)
    strategy.start = inputs.start
    strategy.objective = build_objective(m, config)
    return Looped(Setup(m, compute, network, report, strategy, inputs, Craft(config.sam, config.ema)), state)


def build_strategy(network: Network, config: Finetune, epochs: int) -> finetune.Finetune:
    """The strategy over a network that is loaded and on its device."""
    training = trainable(network, config.unfreeze, batch_norm=config.batch_norm, gradual=config.gradual, epochs=epochs)
    rates = Rates(config.layer_decay, config.head_lr, config.lr_rules)
    return finetune.Finetune(training, rates, Objective(config.loss, config.label_smoothing, config.focal_gamma))


def build_objective(materials: Materials, config: Finetune) -> Objective:
    """The loss, for the classes as they are among the training images."""
    m, how = materials, materials.experiment.dataset.class_weights
    labels, classes = m.images.labels[m.images.splits["train"]], len(m.images.classes)
    weights = weights_for(labels, classes, how, m.device)
    adjustment = adjustment_for(labels, classes, config.logit_adjustment, m.device)
    return Objective(config.loss, config.label_smoothing, config.focal_gamma, weights, adjustment)
