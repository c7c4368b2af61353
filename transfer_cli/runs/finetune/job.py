"""strategy=finetune: what adapts, at which rates, behind which frozen prefix, and what comes before the first step."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import torch
from torch.nn.modules.batchnorm import _BatchNorm

from transfer_cli.config.finetune import HEAD_FIRST_EPOCHS, Finetune, head_first_epochs
from transfer_cli.config.schema import Experiment
from transfer_cli.data.reading.image_set import ImageSet
from transfer_cli.data.sources import load as sources
from transfer_cli.engine.checkpoints import State
from transfer_cli.engine.objective import Objective
from transfer_cli.engine.stop import Stop
from transfer_cli.engine.task import task_of
from transfer_cli.models.heads import HeadSpec, attach
from transfer_cli.models.network import Network
from transfer_cli.models.weights import LoadReport
from transfer_cli.records.terminal import Reporter
from transfer_cli.runs.activation_caching import choose_inputs
from transfer_cli.runs.compute import check_batch_of_one, check_validation, choose_training_compute
from transfer_cli.runs.evaluation import Evaluation
from transfer_cli.runs.finetune.channel_weights import channel_weights
from transfer_cli.runs.loop_job import LoopJob, Start
from transfer_cli.runs.machine import open_machine
from transfer_cli.runs.materials import Materials, open_training_pixels, plan_training
from transfer_cli.runs.pretrained import find_weights
from transfer_cli.runs.probe import fit_probe, put_head
from transfer_cli.strategies.extract import Fitted
from transfer_cli.strategies.finetune import Finetune as FinetuneStrategy
from transfer_cli.strategies.finetune import make_trainable
from transfer_cli.strategies.groups import Rates, parameter_groups
from transfer_cli.strategies.regularizers import ChosenRegularizers, Source, chosen_regularizers
from transfer_cli.strategies.trainable import Trainable


def prepare(e: Experiment, reporter: Reporter, stop: Stop, state: State | None) -> LoopJob:
    """Everything that the loop trains with. Raises UserError for what the user's input makes impossible."""
    config = e.strategy
    assert isinstance(config, Finetune)
    regularizers = chosen_regularizers(config.regularizers)
    machine = open_machine(e)
    pretrained = find_weights(e, machine.seen_weights, reporter)
    images = sources.load(e.dataset, e.seed)
    check_validation(e, images)
    task = task_of(e, images.classes)
    plan = plan_training(e, images, pretrained.preprocessing, reporter)
    network, loaded = pretrained.build(task.width, e.seed, drop_path=config.drop_path)
    head_init = _head_init(config, network, loaded, images, reporter)
    fits_head = head_init == "probe" or head_first_epochs(config) > 0
    head = HeadSpec("probe" if fits_head else "linear", network.feature_width)
    network = attach(network, head, task.width) if fits_head else network
    if head_init == "zero":
        network.zero_head()
    network.to(machine.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    # Before adapters go in.
    source = copy.deepcopy(network) if regularizers.compare else None
    training = make_trainable(network, config, plan.epochs)
    groups = parameter_groups(training, Rates(config.layer_decay, config.head_lr, config.lr_rules))
    timed = FinetuneStrategy(training, Objective(), regularizers.for_timing(training))
    check_batch_of_one(e, timed, plan, pretrained.preprocessing.crop_pixels)
    plain = fits_head or regularizers.compare
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
        start=HeadFirst(config, training, regularizers, source, fits_head),
        state=state,
        rho=config.sam,
        average_decay=config.ema,
    )


@dataclass(frozen=True)
class HeadFirst:
    """What comes before the first step: a head (LP-FT), where one is asked for, and what regularisers compare with."""

    config: Finetune
    training: Trainable
    regularizers: ChosenRegularizers
    source: Network | None
    """The network as it was pretrained, where a regulariser compares with it."""
    fits_head: bool

    def __call__(self, job: LoopJob, directory: Path | None, reporter: Reporter, stop: Stop) -> Start:
        """Fit the head if it is not in a state already; the strategy is complete afterwards."""
        epochs = head_first_epochs(self.config)
        replaces_head = job.state is None and self.fits_head
        fitted = None
        if replaces_head or self.source is not None:
            epochs = epochs if self.fits_head else HEAD_FIRST_EPOCHS
            fitted = fit_probe(job.materials, job.network, epochs, job.compute, directory, reporter, stop)
        strategy = self._strategy(job, fitted)
        if fitted is None or not replaces_head:
            return Start(strategy)
        put_head(job.network, fitted)
        strategy.train_mode(job.materials.plan.last_epoch)
        _warn_of_batch_norm(job.network, reporter)
        evaluation = Evaluation(job.network, job.inputs, job.materials, job.compute, None, stop)
        return Start(strategy, evaluation.scores("val"), is_candidate=self.config.head_init == "probe")

    def _strategy(self, job: LoopJob, fitted: Fitted | None) -> FinetuneStrategy:
        m, compared = job.materials, None
        if self.source is not None and fitted is not None:
            put_head(self.source, fitted)
            batch_size = m.experiment.trainer.batch_size
            weights = partial(channel_weights, self.source, job.inputs, job.compute, batch_size)
            compared = Source(self.source, weights)
        labels = m.images.labels[m.images.splits["train"]]
        objective = m.task.objective(self.config, m.experiment.dataset, labels, m.device)
        return FinetuneStrategy(self.training, objective, self.regularizers.ready(self.training, compared))


def _head_init(
    config: Finetune, network: Network, loaded: LoadReport, images: ImageSet, reporter: Reporter
) -> Literal["zero", "probe", "model"]:
    """How the head starts: as the configuration says, where that can be. A head that came with the weights stays."""
    if config.head_init == "model" or loaded.head_kept:
        return "model"
    obstacle = None
    if not network.has_features:
        obstacle = "the head of this model is not one linear layer"
    elif config.head_init == "probe" and loaded.sha256 is None:
        obstacle = "random weights have no features worth fitting to"
    elif config.head_init == "probe" and len(images.splits["val"]) == 0:
        obstacle = "there are no validation images to choose its penalty by"
    if obstacle is None:
        return config.head_init
    reporter.warn(f"strategy.head_init={config.head_init}: {obstacle}; the head starts as the model draws it")
    return "model"


def _warn_of_batch_norm(network: Network, reporter: Reporter) -> None:
    if any(isinstance(layer, _BatchNorm) and layer.training for layer in network.modules()):
        reporter.warn(
            "the head was fitted to features under BatchNorm's stored statistics, and training uses those of batches, "
            "which may undo it: see strategy.batch_norm=frozen"
        )
