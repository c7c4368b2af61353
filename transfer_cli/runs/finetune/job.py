"""strategy=finetune: what adapts, at which rates, behind which frozen prefix, and what comes before the first step."""

from __future__ import annotations

import copy
from functools import partial
from pathlib import Path

import torch
from torch.nn.modules.batchnorm import _BatchNorm

from transfer_cli.config.finetune import HEAD_FIRST_EPOCHS, Finetune, head_first_epochs
from transfer_cli.config.schema import Experiment
from transfer_cli.data.sources import load as sources
from transfer_cli.engine.objective import Objective
from transfer_cli.engine.states import State
from transfer_cli.engine.stop import Stop
from transfer_cli.engine.task import Classification
from transfer_cli.methods.scores import Scores
from transfer_cli.models.heads import HeadSpec, attach
from transfer_cli.models.network import Network
from transfer_cli.records.terminal import Reporter
from transfer_cli.runs.compute import check_batch_of_one, check_validation, choose_training_compute
from transfer_cli.runs.evaluators import EpochContext
from transfer_cli.runs.finetune.channel_weights import channel_weights
from transfer_cli.runs.loop_job import LoopJob, Start
from transfer_cli.runs.machine import open_machine
from transfer_cli.runs.materials import Materials, open_training_pixels, plan_training
from transfer_cli.runs.prefix import choose_inputs
from transfer_cli.runs.pretrained import find_weights
from transfer_cli.runs.probe import fit_probe, put_head
from transfer_cli.strategies.finetune import Finetune as FinetuneStrategy
from transfer_cli.strategies.finetune import what_trains
from transfer_cli.strategies.groups import Rates, parameter_groups
from transfer_cli.strategies.penalties import ChosenPenalties, Source, chosen_penalties
from transfer_cli.strategies.trainable import Trainable


def prepare(e: Experiment, reporter: Reporter, stop: Stop, state: State | None) -> LoopJob:
    """Everything that the loop trains with. Raises UserError for what the user's input makes impossible."""
    config = e.strategy
    assert isinstance(config, Finetune)
    penalties, fits_head = chosen_penalties(config.penalties), head_first_epochs(config) > 0
    machine = open_machine(e)
    pretrained = find_weights(e, machine.seen_weights, reporter)
    images = sources.load(e.dataset, e.seed)
    check_validation(e, images)
    task = Classification(images.classes, e.trainer.metric)
    plan = plan_training(e, images, pretrained.preprocessing, reporter)
    network, weights = pretrained.build(task.width, e.seed, drop_path=config.drop_path)
    head = HeadSpec("probe" if fits_head else "linear", network.feature_width)
    network = attach(network, head, task.width) if fits_head else network
    network.to(machine.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    source = copy.deepcopy(network) if penalties.compare else None
    training = what_trains(network, config, plan.epochs)
    groups = parameter_groups(training, Rates(config.layer_decay, config.head_lr, config.lr_rules))
    timed = FinetuneStrategy(training, Objective(), penalties.ready(training, None))
    check_batch_of_one(e, timed, plan, pretrained.preprocessing.crop_pixels)
    plain = fits_head or penalties.compare
    pixels = open_training_pixels(e, images, pretrained, plan, machine, reporter, stop, plain=plain)
    m = Materials(e, machine, pretrained, plan, task, pixels)
    compute = choose_training_compute(m, timed, weights, groups, state, reporter)
    inputs = choose_inputs(m, network, training.boundary, config.cache, compute, reporter, stop)
    start = partial(_start, config, training, penalties, source)
    return LoopJob(m, compute, network, weights, groups, inputs, head, start, state, config.sam, config.ema)


def _start(
    config: Finetune,
    training: Trainable,
    penalties: ChosenPenalties,
    source: Network | None,
    job: LoopJob,
    directory: Path | None,
    reporter: Reporter,
    stop: Stop,
) -> Start:
    """Fit what is to be fitted before the first step: a head (LP-FT), and what penalties compare with."""
    m, epochs = job.materials, head_first_epochs(config)
    labels = m.images.labels[m.images.splits["train"]]
    objective = m.task.objective(config, m.experiment.dataset, labels, m.device)
    puts_head = job.state is None and epochs > 0
    if not puts_head and source is None:
        return Start(FinetuneStrategy(training, objective, penalties.ready(training, None)))
    fitted = fit_probe(m, job.network, epochs or HEAD_FIRST_EPOCHS, job.compute, directory, reporter, stop)
    compared = None
    if source is not None:
        put_head(source, fitted)
        compared = Source(source, partial(channel_weights, source, job.inputs, job.compute, job.batch_size))
    strategy = FinetuneStrategy(training, objective, penalties.ready(training, compared))
    if not puts_head:
        return Start(strategy)
    put_head(job.network, fitted)
    return Start(strategy, _validated(strategy, job, reporter, stop))


def _validated(strategy: FinetuneStrategy, job: LoopJob, reporter: Reporter, stop: Stop) -> Scores | None:
    """Validation scores of the fitted head in the network that will train."""
    strategy.train_mode(max(job.materials.plan.epochs - 1, 0))
    if any(isinstance(layer, _BatchNorm) and layer.training for layer in job.network.modules()):
        reporter.warn(
            "the head was fitted to features under BatchNorm's stored statistics, and training uses those of batches, "
            "which may undo it: see strategy.batch_norm=frozen"
        )
    return EpochContext(job.network, job.inputs, job.materials, job.compute, None, stop).scores("val")
