"""strategy=finetune: what adapts, at which rates, behind which frozen prefix, and what comes before the first step."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import torch

from transfer_cli.config.auto import chosen
from transfer_cli.config.finetune import Finetune, head_first_epochs
from transfer_cli.config.schema import Experiment
from transfer_cli.data.sources import load as sources
from transfer_cli.engine.objective import Objective
from transfer_cli.engine.state_files import State
from transfer_cli.engine.stop import Stop
from transfer_cli.engine.task import task_of
from transfer_cli.records.terminal import Reporter
from transfer_cli.runs.choices.augmentation import with_augmentation
from transfer_cli.runs.choices.batch_size import with_batch
from transfer_cli.runs.choices.image_size import with_size
from transfer_cli.runs.choices.settings import with_finetuning, with_length
from transfer_cli.runs.compute import check_batch_of_one, check_validation, choose_training_compute
from transfer_cli.runs.finetune.mixing import FrozenStart, keep_a_mixture
from transfer_cli.runs.finetune.start import (
    BeforeTraining,
    first_head,
    fits_head,
    keeps_probe,
    probe_obstacle,
    source_network,
    with_first_head,
)
from transfer_cli.runs.frozen.activation_caching import choose_inputs
from transfer_cli.runs.loop_job import LoopJob
from transfer_cli.runs.machine import open_machine
from transfer_cli.runs.materials import Materials, open_training_pixels, plan_training
from transfer_cli.runs.pretrained import find_weights
from transfer_cli.strategies.finetune import Finetune as FinetuneStrategy
from transfer_cli.strategies.finetune import make_trainable
from transfer_cli.strategies.groups import Rates, parameter_groups
from transfer_cli.strategies.regularizers import chosen_regularizers


def prepare(e: Experiment, reporter: Reporter, stop: Stop, state: State | None) -> LoopJob:
    """Everything that the loop trains with. Raises UserError for what the user's input makes impossible."""
    config = e.strategy
    assert isinstance(config, Finetune)
    regularizers = chosen_regularizers(config.regularizers)
    machine = open_machine(e, reporter)
    pretrained = find_weights(e, machine.seen_weights, reporter)
    images = sources.load(e.dataset, e.seed)
    check_validation(e, images)
    task = task_of(e, images.classes)
    e, pretrained = with_size(e, pretrained, images, reporter)
    e = with_batch(e, machine, pretrained, images, reporter)
    e = with_length(e, images, reporter)
    network, loaded = pretrained.build(task.width, e.seed, names=images.classes, drop_path=config.drop_path)
    config = replace(config, keep_probe=keeps_probe(config, network, loaded, images, reporter))
    can_probe = probe_obstacle(network, loaded, images) is None
    e = with_finetuning(replace(e, strategy=config), network, loaded, images, reporter, can_probe=can_probe)
    config = e.strategy
    assert isinstance(config, Finetune)
    config = replace(config, head_init=first_head(config, network, loaded, images, reporter))
    network, head = with_first_head(network, config, loaded, task.width)
    network.to(machine.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    e = with_augmentation(e, network, machine, pretrained, images, reporter, stop)
    plan = plan_training(e, images, pretrained.preprocessing, reporter)
    # Before adapters go in.
    mixes = bool(config.wise_ft) and config.keep_probe is True
    if config.wise_ft and not mixes:
        reporter.warn("strategy.wise_ft=true: no head is fitted here that could be mixed with; the best epoch is kept")
    source = source_network(network, task.width) if regularizers.compare or mixes else None
    frozen_start = FrozenStart(source, head_first_epochs(config)) if mixes and source is not None else None
    training = make_trainable(network, config, plan.epochs)
    groups = parameter_groups(training, Rates(chosen(config.layer_decay), config.head_lr, config.lr_rules))
    timed = FinetuneStrategy(training, Objective(), regularizers.for_timing(training))
    check_batch_of_one(e, timed, plan, pretrained.preprocessing.crop_pixels)
    plain = fits_head(config) or regularizers.compare
    pixels = open_training_pixels(e, images, pretrained, plan, machine, reporter, stop, plain=plain)
    m = Materials(e, machine, pretrained, plan, task, pixels)
    compute = choose_training_compute(m, timed, loaded, groups, state, reporter)
    inputs = choose_inputs(m, network, training.boundary, config.cache, compute, reporter, stop)
    return LoopJob(
        materials=m,
        compute=compute,
        network=network,
        loaded=loaded,
        groups=groups,
        inputs=inputs,
        head=head,
        start=BeforeTraining(config, training, regularizers, source if regularizers.compare else None, frozen_start),
        state=state,
        rho=config.sam,
        average_decay=chosen(config.ema),
        mixing=None if frozen_start is None else partial(keep_a_mixture, frozen_start),
    )
