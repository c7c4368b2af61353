"""Features of a data set's splits: from cached activations, or from the backbone run again whenever they are wanted."""

from __future__ import annotations

import hashlib

import numpy as np
import torch
from torch import Tensor

from transfer_cli.config.extract import Extract
from transfer_cli.data.batches import Batch
from transfer_cli.engine.devices.device import Compute, fitting_device
from transfer_cli.engine.evaluation import BATCH_SIZE, Forward
from transfer_cli.engine.frozen import Frozen
from transfer_cli.engine.ranks.world import World
from transfer_cli.engine.stop import Stop
from transfer_cli.models.network import Network, Readout
from transfer_cli.records.terminal import Reporter
from transfer_cli.runs.frozen.backbone import Backbone
from transfer_cli.runs.materials import Materials
from transfer_cli.runs.views import SplitActivations, Views
from transfer_cli.strategies.extract import Batches

ROWS_AT_ONCE = 4096


class CachedFeatures:
    """Rows of cached activations. The backbone runs at most once for each sample and view, in this run or before."""

    def __init__(self, materials: Materials, frozen: Frozen, batch_size: int) -> None:
        self._activations = SplitActivations(frozen, materials)
        images = materials.images
        self._labels = {split: torch.from_numpy(images.labels[images.splits[split]]) for split in images.splits}
        shuffled = materials.shuffled(batch_size)
        self._visits, self.steps_per_epoch = shuffled.visits, shuffled.steps_per_epoch
        self._device = fitting_device(materials.device)
        self.classes = materials.task.width

    def identity(self) -> str:
        """Of the cache entries that they are read from, and of the labels."""
        labels = [
            (split, hashlib.sha256(self._labels[split].numpy().tobytes()).hexdigest()) for split in sorted(self._labels)
        ]
        return hashlib.sha256(f"{self._activations.identity()} {labels}".encode()).hexdigest()

    @property
    def width(self) -> int:
        """D."""
        return int(self._activations.of_epoch(0).mapped.shape[1])

    def compute(self) -> None:
        """Fill what is missing of all splits and views."""
        self._activations.compute()

    def epoch(self, epoch: int) -> Batches:
        """Rows of the epoch's view, in its order."""
        rows = self._activations.of_epoch(epoch)
        for positions, *_ in self._visits(epoch):
            yield self._batch(rows.rows(positions), self._labels["train"][positions])

    def split(self, name: str) -> Batches:
        """Rows of a split in data set order; of `train` in the first view."""
        labels = self._labels[name]
        if len(labels) == 0:
            return
        rows = self._activations.of_epoch(0) if name == "train" else self._activations.of(name, None)
        for start in range(0, len(labels), ROWS_AT_ONCE):
            positions = np.arange(start, min(start + ROWS_AT_ONCE, len(labels)))
            yield self._batch(rows.rows(positions), labels[positions])

    def _batch(self, rows: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        return rows.to(self._device).float(), labels.to(self._device)


class LiveFeatures:
    """The same features, from a backbone that runs in every epoch: what caching is measured against."""

    def __init__(self, materials: Materials, frozen: Frozen, batch_size: int) -> None:
        self._materials, self._frozen, self._views = materials, frozen, Views(materials)
        shuffled = materials.shuffled(batch_size)
        self._visits, self.steps_per_epoch = shuffled.visits, shuffled.steps_per_epoch
        self.classes = materials.task.width

    def identity(self) -> None:
        """Unknown: each time they are computed anew."""

    @property
    def width(self) -> int:
        """D."""
        features, _ = next(iter(self.split("train")))
        return int(features.shape[1])

    def epoch(self, epoch: int) -> Batches:
        """The backbone runs on every sample of the epoch."""
        members, samples = self._materials.images.splits["train"], self._materials.samples
        view = self._views.of_epoch(epoch)
        for positions, *_ in self._visits(epoch):
            indices = members[positions]
            yield self._run(samples.evaluation(indices) if view is None else samples.view(indices, view))

    def split(self, name: str) -> Batches:
        """The backbone runs on every sample of the split."""
        if len(self._materials.images.splits[name]) == 0:
            return
        view = self._views.of_epoch(0) if name == "train" else None
        for batch in self._materials.ordered(name, self._frozen.batch_size, view):
            yield self._run(batch)

    def _run(self, batch: Batch) -> tuple[Tensor, Tensor]:
        device = fitting_device(self._materials.device)
        return self._frozen.now(batch).float().to(device), batch.labels.to(device)


def features_of(
    backbone: Backbone,
    config: Extract,
    readout: Readout | None,
    compute: Compute,
    materials: Materials,
    reporter: Reporter,
    stop: Stop,
) -> Frozen:
    """The backbone up to the features [B, D]."""
    features = {"pooling": config.pooling, "stages": list(config.stages)} if readout else "network's own"
    return Frozen(
        identity={**backbone.identity, "boundary": "features", "features": features},
        forward=lambda: forward_features(backbone.network, readout),
        compute=compute,
        to_device=materials.to_device,
        batch_size=BATCH_SIZE[compute.device.type],
        cache=materials.machine.cache,
        count=reporter.count,
        stop=stop,
    )


def forward_features(network: Network, readout: Readout | None) -> Forward:
    """Images [B, 3, H, W] to features [B, D]."""
    if readout is not None:
        return lambda images: readout(network, images)
    return lambda images: network.forward_to(len(network.stages) - 1, images)


def images_elsewhere(frozen: Frozen, world: World) -> int:
    """How many images other ranks have computed, once all have done their part of the features."""
    world.join()
    return sum(world.gather(frozen.images_computed)) - frozen.images_computed
