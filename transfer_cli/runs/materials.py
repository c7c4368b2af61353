"""From a configuration to the parts of a run: device, images, network, strategy. No file is written here."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch

from transfer_cli.cache.entries import Cache
from transfer_cli.cache.place import open_cache
from transfer_cli.config.schema import Augment, Dataset, Experiment
from transfer_cli.data.balance import skew_note
from transfer_cli.data.batches import OrderedBatches, Samples, TrainBatches
from transfer_cli.data.describe import class_table
from transfer_cli.data.reading.image_set import ImageSet
from transfer_cli.data.reading.workers import auto_workers, cpus
from transfer_cli.data.sources import load as sources
from transfer_cli.data.store import formats
from transfer_cli.data.store.device import cuts_there
from transfer_cli.data.store.formats import PixelRequest
from transfer_cli.data.store.open import DecodedSet, Gpu, StoreOptions, open_store
from transfer_cli.data.store.protocol import Store
from transfer_cli.engine import device as devices
from transfer_cli.engine.device import Normalize, Place, PlacePixels
from transfer_cli.engine.precision import PrecisionMemory
from transfer_cli.engine.signals import StopRequest
from transfer_cli.errors import Stopped
from transfer_cli.methods.bit_rule import BitRule, bit_rule
from transfer_cli.models import backbones, weights
from transfer_cli.models.network import Network
from transfer_cli.models.preprocessing import Preprocessing
from transfer_cli.models.published import SeenWeights, WeightsSource
from transfer_cli.models.weights import LoadReport
from transfer_cli.records.terminal import Reporter


@dataclass(frozen=True)
class Materials:
    """What every training starts from, before there is a network."""

    experiment: Experiment
    augment: Augment
    device: torch.device
    images: ImageSet
    """Without what `pixels` leaves out."""
    preprocessing: Preprocessing
    source: WeightsSource
    cache: Cache
    known: SeenWeights
    precision_memory: PrecisionMemory
    opened: DecodedSet | None = None

    @property
    def pixels(self) -> DecodedSet:
        """The decoded images, once they are open."""
        assert self.opened is not None
        return self.opened

    @property
    def epochs(self) -> int:
        """How long to train, by epochs or by steps; whole epochs, one at least."""
        trainer, images = self.experiment.trainer, len(self.images.splits["train"])
        if trainer.steps is None:
            return trainer.epochs
        steps = self.bit_rule.steps if trainer.steps == "bit" else trainer.steps
        return max(round(steps / -(-images // (trainer.batch_size * trainer.accumulate))), 1)

    @property
    def bit_rule(self) -> BitRule:
        """What the BiT rule says for these images."""
        return bit_rule(len(self.images.splits["train"]), self.preprocessing.crop_pixels**2)

    @property
    def workers(self) -> int:
        """Threads or processes that make batches."""
        return resolve_workers(self.experiment, self.pixels.store)

    @property
    def place(self) -> Place:
        """Batches of pixels to network inputs on the device."""
        return PlacePixels(Normalize(self.preprocessing.mean, self.preprocessing.std, self.device))

    @property
    def samples(self) -> Samples:
        """What batches are made from."""
        store = self.pixels.store
        # Pinning memory needs the GPU, which a forked worker must not touch.
        pinned = self.device.type == "cuda" and not store.decodes
        return Samples(self.images, store, self.preprocessing, self.augment, self.experiment.seed, pinned)

    def ordered(self, split: str, batch_size: int, view: int | None = None) -> OrderedBatches:
        """The images of a split in data set order: as evaluation sees them, or in a view."""
        indices = self.images.splits[split]
        return OrderedBatches(self.samples, indices, batch_size=batch_size, workers=self.workers, view=view)

    def shuffled(self, batch_size: int) -> TrainBatches:
        """The training images, shuffled and augmented, epoch by epoch."""
        sampler = self.experiment.dataset.sampler
        return TrainBatches(self.samples, sampler=sampler, batch_size=batch_size, workers=self.workers)


def gather(experiment: Experiment, augment: Augment, reporter: Reporter) -> Materials:
    """Device, weights and the list of images. Raises UserError for whatever the user's input makes impossible."""
    device = devices.select_device(experiment.trainer.device)
    devices.prepare(device, experiment.seed)
    cache = open_cache(experiment.cache_dir, experiment.cache_size)
    model = experiment.model
    known = SeenWeights(cache.root / "known")
    source = fetched(weights.resolve(model.name, model.source, model.weights, known), reporter)
    images = load_images(experiment.dataset, experiment.seed)
    preprocessing = source.preprocessing
    if experiment.image_size != "auto":
        preprocessing = preprocessing.at(experiment.image_size)
    m = Materials(
        experiment=experiment,
        augment=augment,
        device=device,
        images=images,
        preprocessing=preprocessing,
        source=source,
        cache=cache,
        known=known,
        precision_memory=PrecisionMemory(cache.root / "precision"),
    )
    return _by_bit_rule(m, reporter) if experiment.trainer.steps == "bit" else m


def _by_bit_rule(m: Materials, reporter: Reporter) -> Materials:
    rule = m.bit_rule
    counts = f"{rule.steps:,} steps for {len(m.images.splits['train']):,} images, {m.epochs} epochs"
    reporter.say(f"length    by the BiT rule: {counts}, mixup {rule.mixup}")
    return replace(m, augment=replace(m.augment, mixup=rule.mixup))


def with_pixels(materials: Materials, reporter: Reporter, *, plain: bool = False) -> Materials:
    """The same with its images decoded, which may take a while: what can fail fast has been tried before.

    `plain`: the training images as evaluation sees them, too.
    """
    m = materials
    gpu = None
    if m.device.type == "cuda":
        gpu = Gpu(m.device, cuts_there(m.augment, m.preprocessing.interpolation))
    opened = open_pixels(m.experiment, m.images, training_wants(m, plain), m.cache, reporter, gpu)
    images = opened.images
    counts = ", ".join(f"{len(images.splits[split]):,} {split}" for split in ("train", "val", "test"))
    reporter.say(f"dataset   {images.name}: {counts} images, {len(images.classes)} classes")
    for note in (*images.notes, *opened.notes):
        reporter.warn(note)
    if images.weights is not None and m.experiment.strategy.name == "extract":
        reporter.warn("the weights of the images are ignored: strategy=extract counts each image alike")
    skew = skew_note(images.labels[images.splits["train"]], images.classes)
    if skew is not None:
        reporter.warn(skew)
        reporter.table("images of each class", *class_table(images))
    reporter.say(f"store     {opened.summary}")
    return replace(m, images=images, opened=opened)


def say_device(materials: Materials, precision_reason: str, reporter: Reporter) -> None:
    """One line that says on what, and at which precision."""
    device = materials.device
    threads = f" ({torch.get_num_threads()} threads)" if device.type == "cpu" else ""
    reporter.say(f"device    {devices.device_name(device)}{threads}, {precision_reason}")


def load_images(dataset: Dataset, seed: int) -> ImageSet:
    """The data set with its splits."""
    return sources.load(dataset, seed)


def training_wants(materials: Materials, plain: bool = False) -> list[PixelRequest]:
    """Which pixels a training needs: sources to crop views from, and evaluation pixels of the other splits.

    `plain`: evaluation pixels of the training images, too.
    """
    splits, preprocessing = materials.images.splits, materials.preprocessing
    held_out = np.union1d(splits["val"], splits["test"])
    if materials.augment.crop_scale is None:
        return [PixelRequest(formats.evaluation(preprocessing), np.union1d(held_out, splits["train"]))]
    training = formats.training(preprocessing, materials.experiment.dataset.source_factor)
    evaluated = np.union1d(held_out, splits["train"]) if plain else held_out
    return [PixelRequest(training, splits["train"]), PixelRequest(formats.evaluation(preprocessing), evaluated)]


def open_pixels(
    experiment: Experiment,
    images: ImageSet,
    wants: list[PixelRequest],
    cache: Cache,
    reporter: Reporter,
    gpu: Gpu | None = None,
) -> DecodedSet:
    """The store of all that is wanted, kept on `gpu` if it suits; a signal ends its first pass between two images."""
    options = StoreOptions(experiment.dataset.store, experiment.dataset.on_bad, gpu)
    with StopRequest() as stop:

        def check_stop() -> None:
            if stop.code is not None:
                raise Stopped(stop.code, "while images were decoded; the same command goes on from there")

        return open_store(images, wants, options, cache, reporter, check_stop)


def resolve_workers(experiment: Experiment, store: Store) -> int:
    """The number of threads or decoding processes that make batches."""
    workers = experiment.trainer.workers
    if workers != "auto":
        return workers
    # More threads would only queue for the GPU, each with a batch in its memory.
    return 1 if store.where == "device" else auto_workers(threads=not store.decodes, cpu_count=cpus())


def fetched(source: WeightsSource, reporter: Reporter) -> WeightsSource:
    if source.kind == "none" or source.location is not None:
        return source
    reporter.say(f"fetching {source.label}")
    return replace(source, location=weights.fetch(source))


def build_network(
    materials: Materials, classes: int, *, keep_head: bool = False, drop_path: float | None = None
) -> tuple[Network, LoadReport]:
    """The pretrained network with a head for `classes` K; `keep_head`: the one that published weights bring.

    `drop_path` is its stochastic depth; None is the model's own.
    """
    m, e = materials, materials.experiment
    # The head starts the same whatever was drawn before it, so that a run can be repeated in any process.
    torch.manual_seed(e.seed)
    size = m.preprocessing.crop_pixels
    network = backbones.build(e.model.name, e.model.source, classes, image_size=size, drop_path=drop_path)
    report = weights.load(network, m.source, size, keep_head=keep_head)
    torch.manual_seed(e.seed)
    return network, report


def parameter_counts(network: Network, *, trainable: bool = True) -> tuple[int, int]:
    """(all, trainable) numbers of parameters; of a network that is only run none train."""
    parameters = list(network.parameters())
    return sum(p.numel() for p in parameters), sum(p.numel() for p in parameters if p.requires_grad and trainable)
