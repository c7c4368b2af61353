"""strategy=finetune: what adapts, at which rates, behind which frozen prefix, and what comes before the first step."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import torch
from torch.nn.modules.batchnorm import _BatchNorm

from transfer_cli.config.finetune import HEAD_FIRST_EPOCHS, Finetune, head_first_epochs
from transfer_cli.config.schema import Experiment
from transfer_cli.engine import states
from transfer_cli.engine.fit import Scores
from transfer_cli.models.heads import HeadSpec, attach
from transfer_cli.records.terminal import Reporter
from transfer_cli.runs import materials as building
from transfer_cli.runs import prefix
from transfer_cli.runs.attention import channel_weights
from transfer_cli.runs.loop_job import Craft, Looped, Setup, StopCode, choose_compute, validate
from transfer_cli.runs.materials import Materials
from transfer_cli.runs.probe import fit_probe, put_head
from transfer_cli.strategies import finetune
from transfer_cli.strategies.finetune_options import build_strategy
from transfer_cli.strategies.objective import Objective, adjustment_for, weights_for
from transfer_cli.strategies.penalties import Delta


def prepare(experiment: Experiment, reporter: Reporter, state: states.State | None) -> Looped:
    """Build network and strategy, decode the images. Raises UserError for what the user's input makes impossible."""
    e, config = experiment, experiment.strategy
    assert isinstance(config, Finetune)
    m = building.gather(e, e.augment, reporter)
    classes, fits_head = len(m.images.classes), head_first_epochs(config) > 0
    network, report = building.build_network(m, classes, drop_path=config.drop_path)
    head = HeadSpec("probe" if fits_head else "linear", network.feature_width)
    if fits_head:
        network = attach(network, head, classes)
    network.to(m.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    strategy = build_strategy(network, config, m.epochs)
    compute = choose_compute(m, strategy, report, state, reporter)
    m = building.with_pixels(m, reporter, plain=fits_head or config.delta.weight > 0)
    inputs = prefix.choose(m, network, strategy.boundary, config.cache, compute, reporter)
    strategy.start, strategy.objective = inputs.start, build_objective(m, config)
    craft, begin = Craft(config.sam, config.ema), partial(_begin, config, strategy)
    return Looped(Setup(m, compute, network, report, strategy, inputs, head, craft, begin=begin), state)


def build_objective(materials: Materials, config: Finetune) -> Objective:
    """The loss, for the classes as they are among the training images."""
    m, how = materials, materials.experiment.dataset.class_weights
    labels, classes = m.images.labels[m.images.splits["train"]], len(m.images.classes)
    weights = weights_for(labels, classes, how, m.device)
    adjustment = adjustment_for(labels, classes, config.logit_adjustment, m.device)
    return Objective(config.loss, config.label_smoothing, config.focal_gamma, weights, adjustment)


def _begin(
    config: Finetune,
    strategy: finetune.Finetune,
    setup: Setup,
    directory: Path,
    reporter: Reporter,
    stop_code: StopCode,
    fresh: bool,
) -> Scores | None:
    """Fit what is to be fitted before the first step; scores on validation of a head that was put into the network."""
    epochs = head_first_epochs(config)
    deltas = [penalty for penalty in strategy.penalties if isinstance(penalty, Delta)]
    wanted = fresh and epochs > 0
    if not wanted and not deltas:
        return None
    fitted = fit_probe(
        setup.materials, setup.network, epochs or HEAD_FIRST_EPOCHS, setup.compute, directory, reporter, stop_code
    )
    batch_size = setup.materials.experiment.trainer.batch_size
    for delta in deltas:
        put_head(delta.source, fitted)
        delta.attention = channel_weights(delta.source, delta.taps, setup.inputs, batch_size, setup.compute)
    if not wanted:
        return None
    put_head(setup.network, fitted)
    strategy.train_mode(max(setup.materials.epochs - 1, 0))
    if any(isinstance(layer, _BatchNorm) and layer.training for layer in setup.network.modules()):
        reporter.warn(
            "the head was fitted to features under BatchNorm's stored statistics, and training uses those of batches, "
            "which may undo it: see strategy.batch_norm=frozen"
        )
    return validate(setup, lambda: stop_code() is not None)
