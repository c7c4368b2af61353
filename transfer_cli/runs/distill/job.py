"""strategy=distill: teachers are chosen and examined, then the student trains in the loop on batches with outputs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from transfer_cli.config.distill import Distill as DistillConfig
from transfer_cli.config.schema import Experiment
from transfer_cli.data import joined
from transfer_cli.data.batches import Batch
from transfer_cli.data.reading.image_set import ImageSet
from transfer_cli.data.same_images import check_teachers
from transfer_cli.data.sources import load as sources
from transfer_cli.engine.devices.device import count_peak_from_here
from transfer_cli.engine.measured.precision import Looked, plain_batch, time_training
from transfer_cli.engine.ranks.world import World
from transfer_cli.engine.state_files import State
from transfer_cli.engine.stop import Stop
from transfer_cli.engine.task import task_of
from transfer_cli.methods.distill.contrast import Negatives
from transfer_cli.methods.distill.distillation import DistillationLoss
from transfer_cli.methods.distill.output_rows import Layout
from transfer_cli.models import backbones
from transfer_cli.models.heads import HeadSpec
from transfer_cli.models.network import Network
from transfer_cli.records.terminal import Reporter
from transfer_cli.runs.choices.augmentation import with_augmentation
from transfer_cli.runs.choices.batch_size import with_batch
from transfer_cli.runs.choices.image_size import with_size
from transfer_cli.runs.choices.settings import situation_of, with_length, with_rate
from transfer_cli.runs.compute import check_batch_of_one, check_validation, choose_training_compute
from transfer_cli.runs.distill.loss import build_loss
from transfer_cli.runs.distill.prior_runs import Train, with_teacher_choices, with_trained_teacher
from transfer_cli.runs.distill.probe_check import probe_accuracy, warn_of_weak
from transfer_cli.runs.distill.teacher import Teacher, check_knowledge, load_teachers
from transfer_cli.runs.distill.teacher_outputs import TaughtInputs, TeacherOutputs, choose_stored
from transfer_cli.runs.inputs import PixelInputs
from transfer_cli.runs.loop_job import LoopJob
from transfer_cli.runs.machine import open_machine
from transfer_cli.runs.materials import Materials, open_training_pixels, plan_training
from transfer_cli.runs.options import check_options
from transfer_cli.runs.pretrained import Pretrained, find_weights
from transfer_cli.runs.start import Start
from transfer_cli.runs.views import SplitActivations
from transfer_cli.strategies.distill import LOSS_GROUP, Distill, distill_groups

SMALL = 0.01
"""What is left of a drawn head where it cannot start at zero."""


Together = Callable[[Materials, str, Sequence[str]], None]
"""Told of materials and of the precision of a student and of its teachers, before these run for the first time."""


def prepare(
    train: Train,
    e: Experiment,
    reporter: Reporter,
    stop: Stop,
    state: State | None,
    *,
    together: Together | None = None,
    precisions: Sequence[str] | None = None,
) -> LoopJob:
    """The student, and its teachers' outputs; `train` trains a teacher first where the command asks for one.

    `together` lets other ranks share in what is computed here; `precisions`: those of the teachers, where another rank
    has chosen them. Raises UserError for what the input makes impossible.
    """
    asked = e.strategy
    assert isinstance(asked, DistillConfig)
    check_options(e)
    machine = open_machine(e, reporter)
    pretrained = find_weights(e, machine.seen_weights, reporter)
    listed = _with_unlabelled(e, sources.load(e.dataset, e.seed), reporter)
    check_validation(e, listed)
    # A teacher that is trained first chooses for itself.
    asked_for = e
    e, pretrained = with_size(e, pretrained, listed, reporter)
    e = with_batch(e, machine, pretrained, listed, reporter)
    e = with_length(e, listed, reporter)
    size = pretrained.preprocessing.crop_pixels
    if asked.trains_first and listed.classes:
        _check_loss(e, asked, pretrained, listed)
    config, run = with_trained_teacher(train, asked_for, reporter)
    e = replace(e, strategy=with_teacher_choices(asked, run))
    count_peak_from_here(machine.device)
    own_size = replace(e, image_size=asked_for.image_size)
    teachers = load_teachers(own_size, config, listed, machine.seen_weights, reporter)
    images = _with_classes(listed, teachers[0], reporter)
    task = task_of(e, images.classes)
    network, loaded = pretrained.build(task.width, e.seed, names=images.classes)
    e = with_rate(e, situation_of(e, network, loaded, images), reporter)
    if network.has_features and not loaded.head_kept:
        # Correlations and standard scores are those of outputs that differ, however little.
        scale = SMALL if config.terms.get("dist") or config.standardize_logits else 0.0
        network.quiet_head(scale, loaded.new_rows)
    first = teachers[0].network, teachers[0].preprocessing.crop_pixels
    loss, layout = build_loss(config, (network, size), first, images, e.seed)
    layouts = (layout, *(replace(layout, features=()) for _ in teachers[1:]))
    strategy, groups = Distill(network, loss, layouts), distill_groups(network, loss)
    strategy.to(machine.device)
    network.to(memory_format=torch.channels_last)
    e = with_augmentation(e, network, machine, pretrained, listed, reporter, stop)
    plan = plan_training(e, images, pretrained.preprocessing, reporter)
    check_batch_of_one(e, strategy, plan, size)
    pixels = open_training_pixels(e, images, pretrained, plan, machine, reporter, stop)
    check_teachers(config.teacher.weights, pixels)
    m = Materials(e, machine, pretrained, plan, task, pixels)
    look = partial(_time, network, size, layout.classes)
    compute = choose_training_compute(m, strategy, loaded, groups, state, reporter, look)
    told: Sequence[str | None] = precisions or [None] * len(teachers)
    own = zip(teachers, layouts, told, strict=True)
    outputs = tuple(_outputs(*one, m, config, reporter, stop) for one in own)
    inputs = TaughtInputs(PixelInputs(m), outputs, _negatives(m, loss, config))
    if together is not None:
        together(m, compute.precision, inputs.precisions)
    accuracies = _examine(teachers, outputs, config, reporter, stop, asked.trains_first)
    probe = probe_accuracy(m, network, loaded, compute, reporter, stop)
    for teacher, accuracy in zip(teachers, accuracies, strict=True):
        warn_of_weak(teacher, accuracy, probe, len(m.images.splits["val"]), reporter)
    if m.images.weights is not None:
        reporter.warn("the data set's weights of samples do not count: strategy=distill takes all alike")
    return LoopJob(
        materials=m,
        compute=compute,
        network=network,
        loaded=loaded,
        groups=groups,
        inputs=inputs,
        head=HeadSpec(width=network.feature_width),
        start=lambda *_: Start(strategy),
        state=state,
        learnt={LOSS_GROUP: loss} if loss.state_dict() else {},
        more=partial(_more, outputs, accuracies, probe),
    )


def _more(
    outputs: tuple[TeacherOutputs, ...], accuracies: list[float | None], probe: float | None, world: World
) -> dict[str, Any]:
    """Entries of the summary that only a student has; images of all ranks."""
    return {
        "teacher_images": sum(world.gather(sum(one.frozen.images_computed for one in outputs))),
        "teacher_val_accuracy": accuracies,
        "student_probe_val_accuracy": probe,
    }


def _check_loss(e: Experiment, config: DistillConfig, pretrained: Pretrained, images: ImageSet) -> None:
    """Where another network is trained first, what is wrong with student and loss shows before those hours."""
    classes, size, options = len(images.classes), pretrained.preprocessing.crop_pixels, config.teacher
    student, _ = pretrained.build(classes, e.seed)
    if options.model is not None:
        pixels = size if options.image_size == "auto" else options.image_size
        channels = pretrained.preprocessing.channels
        teacher = backbones.build(options.model, options.source, classes, image_size=pixels, channels=channels)
        build_loss(config, (student, size), (teacher, pixels), images, e.seed)


def _time(network: Network, image_size: int, classes: int) -> Looked:
    """The rule, and seconds of a training step of the student by precision, with outputs that are zeros."""

    def batch_of(images: Tensor) -> Batch:
        return replace(plain_batch(images), teacher=torch.zeros(len(images), classes, device=images.device))

    strategy = Distill(network, DistillationLoss({"kd": 1.0}, 1.0), (Layout(classes),))
    return time_training(strategy, image_size, 0, batch_of)


def _negatives(m: Materials, loss: DistillationLoss, config: DistillConfig) -> Negatives | None:
    if loss.contrast is None:
        return None
    return Negatives(m.images.labels, m.images.splits["train"], config.negatives, m.experiment.seed)


def _outputs(
    teacher: Teacher,
    layout: Layout,
    precision: str | None,
    m: Materials,
    config: DistillConfig,
    reporter: Reporter,
    stop: Stop,
) -> TeacherOutputs:
    own = teacher.materials(m, reporter, stop)
    frozen = teacher.frozen(own, layout, reporter, stop, precision)
    stored = choose_stored(frozen, layout, own, config.teacher.cache, reporter)
    same_pixels = own.pixels.store is m.pixels.store
    return TeacherOutputs(own, frozen, layout, SplitActivations(frozen, own), stored, same_pixels)


def _examine(
    teachers: list[Teacher],
    outputs: tuple[TeacherOutputs, ...],
    config: DistillConfig,
    reporter: Reporter,
    stop: Stop,
    trained_now: bool,
) -> list[float | None]:
    """Their accuracies on validation, before anything is written; a signal ends it between two batches."""
    accuracies = []
    for teacher, found in zip(teachers, outputs, strict=True):
        with stop:
            accuracies.append(found.accuracy())
        images, allow_chance = found.materials.images, config.teacher.allow_chance
        check_knowledge(teacher, accuracies[-1], images, reporter, allow_chance=allow_chance, trained_now=trained_now)
    return accuracies


def _with_unlabelled(e: Experiment, images: ImageSet, reporter: Reporter) -> ImageSet:
    """The training images and those of `dataset.unlabelled`."""
    path, labelled = e.dataset.unlabelled, len(images.splits["train"])
    if path is None:
        return images
    together = joined.join(images, path)
    more = len(together.splits["train"]) - labelled
    reporter.say(f"training  {labelled:,} images with labels and {more:,} without, from {path}")
    return together


def _with_classes(images: ImageSet, teacher: Teacher, reporter: Reporter) -> ImageSet:
    """Unlabelled images get the teacher's classes; nothing can be evaluated on them, so all but train is left out."""
    if images.classes:
        return images
    if len(images.splits["val"]) or len(images.splits["test"]):
        reporter.warn("dataset.labels=none: validation and test images without labels are left out")
    none = np.empty(0, np.int64)
    return replace(images, classes=teacher.classes, splits={"train": images.splits["train"], "val": none, "test": none})
