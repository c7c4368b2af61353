"""What every training starts from: images and their decoded pixels, and how batches are made of them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch

from transfer_cli.cache.entries import Cache
from transfer_cli.config.auto import chosen
from transfer_cli.config.schema import Augment, Experiment
from transfer_cli.data.balance import skew_note
from transfer_cli.data.batches import WHOLE, OrderedBatches, Samples, Shard, TrainBatches
from transfer_cli.data.describe import class_table
from transfer_cli.data.reading.image_set import ImageSet
from transfer_cli.data.reading.listing import Indices
from transfer_cli.data.reading.workers import auto_workers, cpus
from transfer_cli.data.store import formats
from transfer_cli.data.store.device import cuts_there
from transfer_cli.data.store.formats import PixelRequest
from transfer_cli.data.store.open import DecodedSet, Gpu, StoreOptions, open_store
from transfer_cli.data.store.protocol import Store
from transfer_cli.engine.devices.device import Normalize, PixelsToDevice, ToDevice
from transfer_cli.engine.mixed_batches import mixes
from transfer_cli.engine.stop import Stop
from transfer_cli.engine.task import Task
from transfer_cli.launched import share_of
from transfer_cli.methods.bit_rule import bit_rule
from transfer_cli.models.preprocessing import Preprocessing
from transfer_cli.records.terminal import Reporter
from transfer_cli.runs.evaluators import evaluated_splits
from transfer_cli.runs.machine import Machine
from transfer_cli.runs.pretrained import Pretrained


@dataclass(frozen=True)
class Plan:
    """How long training takes and how its images vary, as numbers."""

    epochs: int
    augment: Augment

    @property
    def last_epoch(self) -> int:
        """Its number, from 0."""
        return max(self.epochs - 1, 0)


@dataclass(frozen=True)
class Materials:
    """Everything that a training reads, complete: nothing is looked up or decoded for it afterwards."""

    experiment: Experiment
    machine: Machine
    pretrained: Pretrained
    plan: Plan
    task: Task
    pixels: DecodedSet

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self.machine.device

    @property
    def images(self) -> ImageSet:
        """Those that could be decoded."""
        return self.pixels.images

    @property
    def preprocessing(self) -> Preprocessing:
        """What the weights want of an image."""
        return self.pretrained.preprocessing

    @property
    def augment(self) -> Augment:
        """How training images vary."""
        return self.plan.augment

    @property
    def to_device(self) -> ToDevice:
        """Batches of pixels to network inputs on the device."""
        return PixelsToDevice(Normalize(self.preprocessing.mean, self.preprocessing.std, self.device))

    @property
    def samples(self) -> Samples:
        """What batches are made from."""
        store = self.pixels.store
        # Pinning memory needs the GPU, which a forked worker must not touch.
        pinned = self.device.type == "cuda" and not store.decodes
        return Samples(self.images, store, self.preprocessing, self.augment, self.experiment.seed, pinned)

    def with_augment(self, augment: Augment) -> Materials:
        """The same images, varied another way."""
        return replace(self, plan=replace(self.plan, augment=augment))

    def with_images(self, images: ImageSet) -> Materials:
        """The same pixels for some of the images."""
        return replace(self, pixels=replace(self.pixels, images=images))

    def ordered(self, split: str, batch_size: int, view: int | None = None, shard: Shard = WHOLE) -> OrderedBatches:
        """The images of a split in data set order: as evaluation sees them, or in a view."""
        return self.of(self.images.splits[split], batch_size, view, shard)

    def of(self, indices: Indices, batch_size: int, view: int | None = None, shard: Shard = WHOLE) -> OrderedBatches:
        """Some images, in this order, as `ordered` has those of a split."""
        workers = worker_count(self.experiment, self.pixels.store)
        return OrderedBatches(self.samples, indices, batch_size=batch_size, workers=workers, view=view, shard=shard)

    def shuffled(self, batch_size: int, shard: Shard = WHOLE) -> TrainBatches:
        """The training images, shuffled and augmented, epoch by epoch; of each step what is in a shard."""
        return TrainBatches(
            self.samples,
            sampler=self.experiment.dataset.sampler,
            batch_size=batch_size,
            workers=worker_count(self.experiment, self.pixels.store),
            shard=shard,
            mixes=mixes(self.augment),
        )


def plan_training(e: Experiment, images: ImageSet, preprocessing: Preprocessing, reporter: Reporter) -> Plan:
    """Whole epochs, one at least where steps are asked for, and the recipe; both by the BiT rule where it is."""
    count = len(images.splits["train"])
    if e.trainer.steps is None:
        return Plan(chosen(e.trainer.epochs), e.augment)
    steps_per_epoch = -(-count // e.trainer.step_images)
    if e.trainer.steps != "bit":
        return Plan(max(round(e.trainer.steps / steps_per_epoch), 1), e.augment)
    rule = bit_rule(count, preprocessing.crop_pixels**2)
    epochs = max(round(rule.steps / steps_per_epoch), 1)
    counts = f"{rule.steps:,} steps for {count:,} images, {epochs} epochs"
    reporter.say(f"length    by the BiT rule: {counts}, mixup {rule.mixup}")
    return Plan(epochs, replace(e.augment, mixup=rule.mixup))


def pixel_requests(
    e: Experiment, images: ImageSet, preprocessing: Preprocessing, augment: Augment, *, plain: bool = False
) -> list[PixelRequest]:
    """Which pixels a training needs: sources to crop views from, and evaluation pixels of the other splits.

    `plain`: evaluation pixels of the training images, too.
    """
    splits = images.splits
    held_out = np.union1d(splits["val"], splits["test"])
    if augment.crop_scale is None:
        return [PixelRequest(formats.evaluation(preprocessing), np.union1d(held_out, splits["train"]))]
    training = formats.training(preprocessing, e.dataset.source_factor)
    evaluated = np.union1d(held_out, splits["train"]) if plain else held_out
    return [PixelRequest(training, splits["train"]), PixelRequest(formats.evaluation(preprocessing), evaluated)]


def open_pixels(
    e: Experiment,
    images: ImageSet,
    requests: list[PixelRequest],
    cache: Cache,
    reporter: Reporter,
    stop: Stop,
    *,
    gpu: Gpu | None = None,
) -> DecodedSet:
    """The store of all that is asked for, on `gpu` if it suits; a signal ends its first pass between two images."""
    options = StoreOptions(e.dataset.store, e.dataset.on_bad, gpu)

    def check_stop() -> None:
        stop.check("while images were decoded; the same command goes on from there")

    with stop:
        return open_store(images, requests, options, cache, reporter, check_stop)


def open_training_pixels(
    e: Experiment,
    images: ImageSet,
    pretrained: Pretrained,
    plan: Plan,
    machine: Machine,
    reporter: Reporter,
    stop: Stop,
    *,
    plain: bool = False,
) -> DecodedSet:
    """The images decoded, which may take a while: what can fail fast has been tried before.

    `plain`: the training images as evaluation sees them, too.
    """
    gpu = None
    if machine.device.type == "cuda":
        gpu = Gpu(machine.device, cuts_there(plan.augment, pretrained.preprocessing.interpolation))
    plain = plain or "train" in evaluated_splits()
    requests = pixel_requests(e, images, pretrained.preprocessing, plan.augment, plain=plain)
    opened = open_pixels(e, images, requests, machine.cache, reporter, stop, gpu=gpu)
    _say_images(e, opened, reporter)
    return opened


def _say_images(e: Experiment, opened: DecodedSet, reporter: Reporter) -> None:
    images = opened.images
    counts = ", ".join(f"{len(images.splits[split]):,} {split}" for split in ("train", "val", "test"))
    reporter.say(f"dataset   {images.name}: {counts} images, {len(images.classes)} classes")
    for note in (*images.notes, *opened.notes):
        reporter.warn(note)
    if images.weights is not None and e.strategy.name == "extract":
        reporter.warn("the weights of the images are ignored: strategy=extract counts each image alike")
    skew = skew_note(images.labels[images.splits["train"]], images.classes)
    if skew is not None:
        reporter.warn(skew)
        reporter.table("images of each class", *class_table(images))
    reporter.say(f"store     {opened.summary}")


def worker_count(e: Experiment, store: Store) -> int:
    """The number of threads or decoding processes that make batches."""
    workers = e.trainer.workers
    if workers != "auto":
        return workers
    # More threads would only queue for the GPU, each with a batch in its memory.
    return 1 if store.where == "device" else auto_workers(threads=not store.decodes, cpu_count=share_of(cpus()))
