"""strategy=distill: teachers are chosen and examined, then the student trains in the loop on batches with answers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import nn

from transfer_cli.config.distill import Distill as DistillConfig
from transfer_cli.config.schema import Experiment
from transfer_cli.data import joined
from transfer_cli.engine import states
from transfer_cli.engine.device import count_peak_from_here
from transfer_cli.engine.precision import time_training
from transfer_cli.engine.signals import StopRequest
from transfer_cli.methods.distill.contrast import Negatives
from transfer_cli.methods.distill.distillation import DistillationLoss, check_terms
from transfer_cli.methods.distill.teacher_outputs import Layout
from transfer_cli.models import backbones
from transfer_cli.models.heads import HeadSpec
from transfer_cli.models.network import Network
from transfer_cli.records.terminal import Reporter
from transfer_cli.runs import materials as building
from transfer_cli.runs.distill.loss import build_loss
from transfer_cli.runs.distill.prior_runs import before
from transfer_cli.runs.distill.probe_check import probe_accuracy, warn_of_weak
from transfer_cli.runs.distill.teacher import Teacher, check_knowledge, load_teacher
from transfer_cli.runs.distill.teacher_outputs import Answers, TaughtInputs, choose_stored
from transfer_cli.runs.finish import Outcome
from transfer_cli.runs.inputs import PixelInputs
from transfer_cli.runs.loop_job import Looped, Setup, StopCode, choose_compute
from transfer_cli.runs.materials import Materials
from transfer_cli.runs.views import Rows
from transfer_cli.strategies.distill import ANSWERS, BESIDE, Distill


@dataclass(frozen=True)
class Distilled:
    """A student ready to train, and what its teachers say."""

    looped: Looped
    teachers: tuple[Teacher, ...]
    answers: tuple[Answers, ...]
    accuracies: tuple[float | None, ...]

    @property
    def materials(self) -> Materials:
        """What the student starts from."""
        return self.looped.materials

    @property
    def precision(self) -> str:
        """At which the student trains."""
        return self.looped.precision

    def run(self, directory: Path, reporter: Reporter, stop_code: StopCode) -> Outcome:
        """Ask the teachers what is not known yet, then train as any strategy of the loop."""
        for one in self.answers:
            one.frozen.stop_code = stop_code
        probe = probe_accuracy(self.looped.setup, directory, reporter, stop_code)
        for teacher, accuracy in zip(self.teachers, self.accuracies, strict=True):
            if probe is not None:
                warn_of_weak(teacher, accuracy, probe, len(self.materials.images.splits["val"]), reporter)
        outcome = self.looped.run(directory, reporter, stop_code)
        asked = sum(one.frozen.images_computed for one in self.answers)
        more = {
            "teacher_images": asked,
            "teacher_val_accuracy": list(self.accuracies),
            "student_probe_val_accuracy": probe,
        }
        return replace(outcome, more={**outcome.more, **more})


def prepare(experiment: Experiment, reporter: Reporter, state: states.State | None) -> Distilled:
    """Load and examine the teachers, build the student. Raises UserError for what the input makes impossible."""
    e, config = experiment, experiment.strategy
    assert isinstance(config, DistillConfig)
    check_terms(config.loss, labelled=e.dataset.labels == "classes", pairs=config.pairs is not None)
    m = _with_unlabelled(building.gather(e, e.augment, reporter), reporter)
    rehearsed = config.teacher.finetune or config.generations > 1
    if m.images.classes and rehearsed:
        _rehearse(config, m)
    config = before(e, reporter)
    count_peak_from_here(m.device)
    paths = (config.teacher.weights,) if isinstance(config.teacher.weights, str) else config.teacher.weights
    teachers = [load_teacher(config.teacher, path, m, reporter) for path in paths]
    m = _with_classes(m, teachers[0], reporter)
    network, report = building.build_network(m, len(m.images.classes))
    size, first = m.preprocessing.crop_pixels, teachers[0]
    loss, layout = build_loss(config, network, first.network, first.preprocessing.crop_pixels, m)
    layouts = (layout, *(replace(layout, features=()) for _ in teachers[1:]))
    strategy = Distill(network, loss, layouts)
    network.to(m.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    loss.to(m.device)
    compute = choose_compute(m, strategy, report, state, reporter, partial(_time, network, size, layout.classes))
    m = building.with_pixels(m, reporter)
    answers = tuple(_answers(*pair, m, config, reporter) for pair in zip(teachers, layouts, strict=True))
    accuracies = tuple(_examine(*pair, config, reporter, rehearsed) for pair in zip(teachers, answers, strict=True))
    if m.images.weights is not None:
        reporter.warn("the data set's weights of samples do not count: strategy=distill takes all alike")
    inputs = TaughtInputs(PixelInputs(m), answers, _negatives(m, loss, config))
    beside: dict[str, nn.Module] = {BESIDE: loss} if loss.state_dict() else {}
    head = HeadSpec(width=network.feature_width)
    setup = Setup(m, compute, network, report, strategy, inputs, head, beside=beside)
    return Distilled(Looped(setup, state), tuple(teachers), answers, accuracies)


def _rehearse(config: DistillConfig, m: Materials) -> None:
    """What is wrong with the student or its lesson shows before hours of training another network."""
    classes = len(m.images.classes)
    student, _ = building.build_network(m, classes)
    if config.teacher.model is not None:
        size = m.preprocessing.crop_pixels if config.teacher.image_size == "auto" else config.teacher.image_size
        teacher = backbones.build(config.teacher.model, config.teacher.source, classes, image_size=size)
        build_loss(config, student, teacher, size, m)


def _time(network: Network, image_size: int, classes: int) -> dict[str, float]:
    """Seconds of a training step of the student by precision, with answers that are zeros."""
    strategy = Distill(network, DistillationLoss({"kd": 1.0}, 1.0), (Layout(classes),))
    return time_training(strategy, image_size, 0, lambda count: {ANSWERS: torch.zeros(count, classes)})


def _negatives(m: Materials, loss: DistillationLoss, config: DistillConfig) -> Negatives | None:
    if loss.contrast is None:
        return None
    return Negatives(m.images.labels, m.images.splits["train"], config.negatives, m.experiment.seed)


def _answers(teacher: Teacher, layout: Layout, m: Materials, config: DistillConfig, reporter: Reporter) -> Answers:
    own = teacher.materials(m, reporter)
    frozen = teacher.frozen(own, layout, reporter)
    stored = choose_stored(frozen, layout, own, config.teacher.cache, reporter)
    return Answers(own, frozen, layout, Rows(frozen, own), stored, same_pixels=own.pixels is m.pixels)


def _examine(
    teacher: Teacher, answers: Answers, config: DistillConfig, reporter: Reporter, rehearsed: bool
) -> float | None:
    """Its accuracy on validation, before anything is written; a signal ends it between two batches."""
    with StopRequest() as stop:
        answers.frozen.stop_code = lambda: stop.code
        accuracy = answers.accuracy()
    check_knowledge(
        teacher,
        accuracy,
        answers.materials,
        reporter,
        allow_chance=config.teacher.allow_chance,
        rehearsed=rehearsed,
    )
    return accuracy


def _with_unlabelled(m: Materials, reporter: Reporter) -> Materials:
    """The training images and those of `dataset.unlabelled`."""
    path, labelled = m.experiment.dataset.unlabelled, len(m.images.splits["train"])
    if path is None:
        return m
    images = joined.join(m.images, path)
    more = len(images.splits["train"]) - labelled
    reporter.say(f"training  {labelled:,} images with labels and {more:,} without, from {path}")
    return replace(m, images=images)


def _with_classes(m: Materials, teacher: Teacher, reporter: Reporter) -> Materials:
    """Unlabelled images get the teacher's classes; nothing can be evaluated on them, so all but train is left out."""
    if m.images.classes:
        return m
    if len(m.images.splits["val"]) or len(m.images.splits["test"]):
        reporter.warn("dataset.labels=none: validation and test images without labels are left out")
    none = np.empty(0, np.int64)
    splits = {"train": m.images.splits["train"], "val": none, "test": none}
    return replace(m, images=replace(m.images, classes=teacher.classes, splits=splits))
