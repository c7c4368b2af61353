"""strategy=extract: features of a frozen backbone, each computed once, and a head fitted to them."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from transfer_cli.config.auto import AUTO, chosen
from transfer_cli.config.extract import Extract
from transfer_cli.config.schema import Augment, Experiment
from transfer_cli.data.reading.image_set import ImageSet
from transfer_cli.data.sources import load as sources
from transfer_cli.engine.devices.device import Compute, fitting_device
from transfer_cli.engine.frozen import Frozen
from transfer_cli.engine.measured.precision import Looked, choose_precision, time_inference
from transfer_cli.engine.ranks.world import ALONE, World
from transfer_cli.engine.state_files import State
from transfer_cli.engine.stop import Stop
from transfer_cli.engine.task import task_of
from transfer_cli.errors import UserError, did_you_mean
from transfer_cli.models.network import Network, Readout
from transfer_cli.records.events import Recorders, RunStart
from transfer_cli.records.terminal import Reporter
from transfer_cli.records.trials import record_trials
from transfer_cli.runs.choices import augmentation
from transfer_cli.runs.choices.image_size import with_size
from transfer_cli.runs.choices.settings import for_heads
from transfer_cli.runs.extract.unlabelled import UnlabelledJob
from transfer_cli.runs.finish import Outcome
from transfer_cli.runs.frozen.backbone import Backbone
from transfer_cli.runs.frozen.features import (
    CachedFeatures,
    LiveFeatures,
    features_of,
    forward_features,
    images_elsewhere,
)
from transfer_cli.runs.machine import Machine, open_machine, say_device
from transfer_cli.runs.materials import Materials, Plan, open_training_pixels
from transfer_cli.runs.pretrained import Pretrained, find_weights
from transfer_cli.runs.saved_model import save_trained
from transfer_cli.runs.views import NO_AUGMENT, shows_evaluation_pixels
from transfer_cli.strategies.extract import Features, Fitted, Fitting, head_logits
from transfer_cli.strategies.solvers import SOLVERS


def prepare(e: Experiment, reporter: Reporter, stop: Stop, state: State | None) -> ExtractJob | UnlabelledJob:
    """Everything that the head is fitted with; the backbone is built only where some of its features are missing.

    Raises UserError for what the user's input makes impossible. `state` is always None: nothing is saved while a head
    is fitted.
    """
    labelled = e.dataset.labels == "classes"
    if (e.trainer.checkpoint_every, e.trainer.keep) != ("auto", 2):
        reporter.warn("trainer.checkpoint_every, trainer.keep: no effect, since strategy=extract has no states")
    if e.trainer.evaluate_every not in (AUTO, 1):
        reporter.warn("trainer.evaluate_every: no effect, since strategy=extract validates a head in every epoch")
    machine = open_machine(e, reporter)
    pretrained = find_weights(e, machine.seen_weights, reporter)
    images = sources.load(e.dataset, e.seed)
    e = for_heads(e, images, reporter)
    config = e.strategy
    assert isinstance(config, Extract)
    e, pretrained = with_size(e, pretrained, images, reporter)
    e = _with_augmentation(e, machine, pretrained, images, reporter, stop)
    plan = Plan(chosen(e.trainer.epochs), _augment(e, reporter))
    task = task_of(e, images.classes)
    backbone = Backbone(e, machine, pretrained, task.width, keep_head=not labelled)
    readout = checked_readout(backbone, config)
    compute, reason = _choose_compute(e, machine, pretrained, backbone, readout)
    pixels = open_training_pixels(e, images, pretrained, plan, machine, reporter, stop)
    materials = Materials(e, machine, pretrained, plan, task, pixels)
    size = pretrained.preprocessing.crop_pixels
    reporter.say(f"model     {e.model.name}: {pretrained.source.label}, {size} px, frozen")
    if backbone.note is not None:
        reporter.warn(backbone.note)
    say_device(machine.device, reason, reporter)
    frozen = features_of(backbone, config, readout, compute, materials, reporter, stop)
    job = ExtractJob if labelled else UnlabelledJob
    return job(materials, config, backbone, frozen)


@dataclass(frozen=True)
class ExtractJob:
    """A head to be fitted to the features of a backbone."""

    materials: Materials
    config: Extract
    backbone: Backbone
    frozen: Frozen
    world: World = ALONE
    """The ranks that compute features together."""

    @property
    def precision(self) -> str:
        """Of the backbone; the head is fitted in fp32."""
        return self.frozen.compute.precision

    def run(self, directory: Path, recorders: Recorders, reporter: Reporter, stop: Stop) -> Outcome:
        """Compute the features that are missing, fit the head, keep the best."""
        m, e = self.materials, self.materials.experiment
        features = self._features()
        elsewhere = images_elsewhere(self.frozen, self.world)
        ranks = {"ranks": self.world.size} if self.world.size > 1 else {}
        started = time.perf_counter()
        by_epochs = self.config.solver == "optimizer"
        epochs, steps = (chosen(e.trainer.epochs), features.steps_per_epoch) if by_epochs else (1, 1)
        recorders.run_starts(RunStart(e, directory, epochs=epochs, steps_per_epoch=steps, saves_states=False))
        fitted = SOLVERS[self.config.solver](Fitting(features, e, self.config, m.task, recorders, reporter, stop))
        passed = time.perf_counter() - started
        seconds = passed if fitted.seconds is None else fitted.seconds
        record_trials(fitted.trials, directory)
        facts = self.backbone.facts()
        head = fitted.module(features.classes).to(fitting_device(m.device))
        own = sum(tensor.numel() for tensor in head.parameters())
        return Outcome(
            best_epoch=fitted.best_epoch,
            val=fitted.val,
            step=fitted.steps,
            precision=self.precision,
            save_model=lambda run: self._save(run, fitted, str(facts["classifier"])),
            test_outputs=lambda: head_logits(features, head, "test"),
            parameters=(int(facts["parameters"]) + own, own),
            weights=(m.pretrained.source.label, self.backbone.weights_sha256),
            train_seconds=seconds,
            others_seconds=max(passed - seconds, 0.0),
            images=fitted.images,
            more={
                "epochs": epochs if by_epochs else None,
                **ranks,
                "backbone_images": self.frozen.images_computed + elsewhere,
            },
        )

    def compute(self) -> None:
        """Compute the features that are missing, which is all that other ranks than the first do."""
        self._features()
        images_elsewhere(self.frozen, self.world)

    def cached(self) -> CachedFeatures:
        """All features, those that were missing computed now."""
        cached = CachedFeatures(self.materials, self.frozen, chosen(self.materials.experiment.trainer.batch_size))
        cached.compute()
        return cached

    def _features(self) -> Features:
        if self.config.cache:
            return self.cached()
        return LiveFeatures(self.materials, self.frozen, chosen(self.materials.experiment.trainer.batch_size))

    def _save(self, run: Path, fitted: Fitted, classifier: str) -> None:
        head = {f"{classifier}.{name}": tensor for name, tensor in fitted.tensors.items()}
        spec = replace(fitted.spec, pooling=self.config.pooling, stages=self.config.stages)
        save_trained(run, self.materials, {**self.backbone.tensors(), **head}, spec, self.precision)


def cached_features(e: Experiment, reporter: Reporter, stop: Stop) -> tuple[ExtractJob, CachedFeatures]:
    """All features of a labelled data set, for modes that look at them and fit no head. Raises what `prepare` does."""
    job = prepare(e, reporter, stop, None)
    assert isinstance(job, ExtractJob)
    cached = job.cached()
    job.materials.machine.seen_weights.keep()
    return job, cached


def _with_augmentation(
    e: Experiment, machine: Machine, pretrained: Pretrained, images: ImageSet, reporter: Reporter, stop: Stop
) -> Experiment:
    """`augment=auto` as a recipe: none, unless views repeat."""
    if e.augment.name != AUTO:
        return e
    if not e.augment.views:
        return replace(e, augment=NO_AUGMENT)
    network, _ = pretrained.build(max(len(images.classes), 1), e.seed)
    network.to(machine.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return augmentation.with_augmentation(e, network, machine, pretrained, images, reporter, stop)


def _augment(e: Experiment, reporter: Reporter) -> Augment:
    """K views where they repeat; else none, since a view that never comes again has no features to keep."""
    if e.augment.views:
        return e.augment
    if e.dataset.labels == "classes" and not shows_evaluation_pixels(e.augment):
        reporter.say(
            "augment   off: features are of the pixels of evaluation; augment.views=<K> gives K augmented views"
        )
    return NO_AUGMENT


def checked_readout(backbone: Backbone, config: Extract) -> Readout | None:
    """Where features are read, None for the network's own place.

    Raises UserError for a network without features, or stages that it does not have.
    """
    readout = Readout(config.pooling, config.stages) if config.stages or config.pooling != "auto" else None
    if backbone.keep_head or readout is not None or not backbone.is_known():
        _check_readable(backbone.network, config)
    return readout


def _choose_compute(
    e: Experiment, machine: Machine, pretrained: Pretrained, backbone: Backbone, readout: Readout | None
) -> tuple[Compute, str]:
    """The precision of the backbone, and why."""
    size = pretrained.preprocessing.crop_pixels
    work = {"work": "features", "model": e.model.name, "source": e.model.source, "image_size": size}

    def look() -> Looked:
        return time_inference(backbone.network, forward_features(backbone.network, readout), size)

    chosen, reason = choose_precision(e.trainer.precision, machine.device, machine.precisions, work, look)
    return Compute(machine.device, chosen), reason


def _check_readable(network: Network, config: Extract) -> None:
    """Raises UserError for a network without features, or stages that it does not have."""
    if not network.has_features:
        raise UserError(
            "strategy=extract: this model has no features [B, D] before one classifying layer: it classifies every "
            "place of the image and pools afterwards, weighs several classifiers, or its architecture is not known "
            "here. Take another model, or strategy=finetune."
        )
    names = [stage.name for stage in network.stages[:-1]]
    if len(names) == 1 and config.pooling != AUTO:
        raise UserError(
            f"strategy.pooling={config.pooling}: this model pools in one stage with all that is before; leave it out."
        )
    for name in config.stages:
        if name not in names:
            hint = did_you_mean(name, names)
            raise UserError(f"strategy.stages={name}: no such stage.{hint} Stages: {', '.join(names)}.")
