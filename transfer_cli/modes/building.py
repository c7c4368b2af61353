"""From a configuration to the parts of a run: device, images, network, strategy. No file is written here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from transfer_cli.cache.entries import Cache
from transfer_cli.config import Dataset, Experiment
from transfer_cli.data import forms, room, sources
from transfer_cli.data.batches import OrderedBatches, Samples
from transfer_cli.data.forms import Want
from transfer_cli.data.sources import ImageSet
from transfer_cli.data.store import Opened, Store, Wish, open_store
from transfer_cli.data.workers import auto_workers, cpus
from transfer_cli.engine import device as devices
from transfer_cli.engine.device import Compute, Normalize
from transfer_cli.engine.loop import predict_logits
from transfer_cli.engine.precision import PrecisionMemory, choose_precision
from transfer_cli.engine.signals import StopRequest
from transfer_cli.errors import Stopped
from transfer_cli.models import backbones, weights
from transfer_cli.models.network import Network
from transfer_cli.models.preprocessing import Preprocessing
from transfer_cli.models.weights import LoadReport, WeightsSource
from transfer_cli.records.terminal import Reporter
from transfer_cli.strategies.base import Strategy
from transfer_cli.strategies.finetune import Finetune


@dataclass(frozen=True)
class Setup:
    """All parts of a training run, ready to train."""

    experiment: Experiment
    compute: Compute
    images: ImageSet
    """Without what `opened` leaves out."""
    opened: Opened
    cache: Cache
    workers: int
    preprocessing: Preprocessing
    network: Network
    weights: LoadReport
    strategy: Strategy
    precision_memory: PrecisionMemory

    @property
    def normalize(self) -> Normalize:
        """Pixels to network inputs."""
        return Normalize(self.preprocessing.mean, self.preprocessing.std, self.compute.device)

    @property
    def samples(self) -> Samples:
        """What batches are made from."""
        e = self.experiment
        return Samples(self.images, self.opened.store, self.preprocessing, e.augment, e.seed)


def prepare(experiment: Experiment, reporter: Reporter, precision: str) -> Setup:
    """Build every part. Raises UserError for whatever the user's input makes impossible; fast failures first."""
    device = devices.select_device(experiment.trainer.device)
    devices.prepare(device, experiment.seed)
    source = weights.resolve(experiment.model.name, experiment.model.source, experiment.model.weights)
    source = _fetched(source, reporter)
    images = load_images(experiment.dataset, experiment.seed)
    preprocessing = source.preprocessing
    if experiment.image_size != "auto":
        preprocessing = preprocessing.at(experiment.image_size)
    network, report = _network(experiment, source, preprocessing.crop_pixels, len(images.classes))
    strategy = Finetune(network, experiment.strategy.unfreeze, experiment.strategy.label_smoothing)
    memory = PrecisionMemory(cache_folder(experiment.cache_dir) / "precision")
    chosen, reason = choose_precision(precision, device, strategy, preprocessing.crop_pixels, memory)
    cache = open_cache(experiment)
    wants = training_wants(experiment, images, preprocessing)
    opened = open_pixels(experiment, images, wants, cache, reporter)
    network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    setup = Setup(
        experiment=experiment,
        compute=Compute(device, chosen),
        images=opened.images,
        opened=opened,
        cache=cache,
        workers=resolve_workers(experiment, opened.store),
        preprocessing=preprocessing,
        network=network,
        weights=report,
        strategy=strategy,
        precision_memory=memory,
    )
    _introduce(setup, reason, reporter)
    return setup


def load_images(dataset: Dataset, seed: int) -> ImageSet:
    """The data set with its splits."""
    fake = {"num_classes": dataset.num_classes, "samples": dataset.samples}
    return sources.load(
        dataset.name,
        dataset.path,
        val_fraction=dataset.val_fraction,
        test_fraction=dataset.test_fraction,
        train_fraction=dataset.train_fraction,
        shots=dataset.shots,
        seed=seed,
        download=dataset.download,
        **{key: value for key, value in fake.items() if value is not None},
    )


def training_wants(experiment: Experiment, images: ImageSet, preprocessing: Preprocessing) -> list[Want]:
    """Which pixels a training needs: sources to crop views from, and evaluation pixels of the other splits."""
    splits = images.splits
    held_out = np.union1d(splits["val"], splits["test"])
    if experiment.augment.crop_scale is None:
        return [Want(forms.evaluation(preprocessing), np.union1d(held_out, splits["train"]))]
    training = forms.training(preprocessing, experiment.dataset.source_factor)
    return [Want(training, splits["train"]), Want(forms.evaluation(preprocessing), held_out)]


def open_pixels(
    experiment: Experiment, images: ImageSet, wants: list[Want], cache: Cache, reporter: Reporter
) -> Opened:
    """The store of all that is wanted; a signal ends its first pass between two images."""
    wish = Wish(experiment.dataset.store, experiment.dataset.on_bad)
    with StopRequest() as stop:

        def check_stop() -> None:
            if stop.code is not None:
                raise Stopped(stop.code, "while images were decoded; the same command goes on from there")

        return open_store(images, wants, wish, cache, reporter, check_stop)


def resolve_workers(experiment: Experiment, store: Store) -> int:
    """The number of threads or decoding processes that make batches."""
    workers = experiment.trainer.workers
    return auto_workers(threads=not store.decodes, cpu_count=cpus()) if workers == "auto" else workers


def open_cache(experiment: Experiment) -> Cache:
    """The content-addressed cache of this user, within its size."""
    root = cache_folder(experiment.cache_dir)
    return Cache(root, room.cache_bytes(experiment.cache_size, root))


def cache_folder(cache_dir: str) -> Path:
    """`cache_dir` as a path; `auto` is the user's cache folder."""
    import platformdirs

    return Path(platformdirs.user_cache_dir("transfer-run")) if cache_dir == "auto" else Path(cache_dir)


def _fetched(source: WeightsSource, reporter: Reporter) -> WeightsSource:
    if source.kind == "none" or source.location is not None:
        return source
    reporter.say(f"fetching {source.label}")
    return replace(source, location=weights.fetch(source))


def _network(
    experiment: Experiment, source: WeightsSource, image_size: int, num_classes: int
) -> tuple[Network, LoadReport]:
    model = experiment.model
    # The head starts the same whatever was drawn before it, so that a run can be repeated in any process.
    torch.manual_seed(experiment.seed)
    network = backbones.build(model.name, model.source, num_classes, image_size=image_size)
    report = weights.load(network, source, image_size)
    torch.manual_seed(experiment.seed)
    return network, report


def _introduce(setup: Setup, precision_reason: str, reporter: Reporter) -> None:
    """Three lines that say what will be trained, from what, on what."""
    images, network = setup.images, setup.network
    counts = ", ".join(f"{len(images.splits[split]):,} {split}" for split in ("train", "val", "test"))
    reporter.say(f"dataset   {images.name}: {counts} images, {len(images.classes)} classes")
    for note in images.notes:
        reporter.warn(note)
    reporter.say(f"store     {setup.opened.summary}")
    total, trainable = parameter_counts(network)
    size = setup.preprocessing.crop_pixels
    reporter.say(
        f"model     {setup.experiment.model.name}: {setup.weights.label}, {size} px, "
        f"{trainable:,} of {total:,} parameters train"
    )
    device = setup.compute.device
    threads = f" ({torch.get_num_threads()} threads)" if device.type == "cpu" else ""
    reporter.say(f"device    {devices.device_name(device)}{threads}, {precision_reason}")


def parameter_counts(network: Network) -> tuple[int, int]:
    """(all, trainable) numbers of parameters."""
    parameters = list(network.parameters())
    return sum(p.numel() for p in parameters), sum(p.numel() for p in parameters if p.requires_grad)


def split_logits(
    setup: Setup, split: str, stop: Callable[[], bool] = lambda: False
) -> tuple[NDArray[np.float32], NDArray[np.int64]] | None:
    """Logits [N, K] and labels [N] of a split in its order; None if it has no images or `stop` asked for an end."""
    indices = setup.images.splits[split]
    if len(indices) == 0:
        return None
    batch_size = setup.experiment.trainer.batch_size
    batches = OrderedBatches(setup.samples, indices, batch_size=batch_size, workers=setup.workers)
    return predict_logits(setup.network, batches, setup.compute, setup.normalize, stop=stop)
