"""Features of a data set's splits: from cached activations, or from the backbone run again whenever they are wanted."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from transfer_cli.config.extract import Extract
from transfer_cli.data.batches import Batch
from transfer_cli.engine.device import Compute
from transfer_cli.engine.frozen import BATCH_SIZE, Forward, Frozen
from transfer_cli.models.network import Network, Readout
from transfer_cli.records.terminal import Reporter
from transfer_cli.runs.backbone import Backbone
from transfer_cli.runs.materials import Materials
from transfer_cli.runs.views import Parts, Rows
from transfer_cli.strategies.extract import Batches

ROWS_AT_ONCE = 4096


class CachedFeatures:
    """Rows of cached activations. The backbone runs at most once for each sample and view, in this run or before."""

    def __init__(self, materials: Materials, frozen: Frozen, batch_size: int) -> None:
        self._rows = Rows(frozen, materials)
        images = materials.images
        self._labels = {split: torch.from_numpy(images.labels[images.splits[split]]) for split in images.splits}
        shuffled = materials.shuffled(batch_size)
        self._visits, self.steps_per_epoch = shuffled.visits, shuffled.steps_per_epoch
        self._device = materials.device
        self.classes = len(images.classes)

    @property
    def width(self) -> int:
        """D."""
        return int(self._rows.of_epoch(0).mapped.shape[1])

    def compute(self) -> None:
        """Fill what is missing of all splits and views."""
        self._rows.compute()

    def epoch(self, epoch: int) -> Batches:
        """See Features."""
        rows = self._rows.of_epoch(epoch)
        for positions in self._visits(epoch):
            yield self._batch(rows.rows(positions), self._labels["train"][positions])

    def split(self, name: str) -> Batches:
        """See Features."""
        labels = self._labels[name]
        if len(labels) == 0:
            return
        rows = self._rows.of_epoch(0) if name == "train" else self._rows.of(name, None)
        for start in range(0, len(labels), ROWS_AT_ONCE):
            positions = np.arange(start, min(start + ROWS_AT_ONCE, len(labels)))
            yield self._batch(rows.rows(positions), labels[positions])

    def _batch(self, rows: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        return rows.to(self._device).float(), labels.to(self._device)


class LiveFeatures:
    """The same features, from a backbone that runs in every epoch: what caching is measured against."""

    def __init__(self, materials: Materials, frozen: Frozen, batch_size: int) -> None:
        self._materials, self._frozen, self._parts = materials, frozen, Parts(materials)
        shuffled = materials.shuffled(batch_size)
        self._visits, self.steps_per_epoch = shuffled.visits, shuffled.steps_per_epoch
        self.classes = len(materials.images.classes)

    @property
    def width(self) -> int:
        """D."""
        features, _ = next(iter(self.split("train")))
        return int(features.shape[1])

    def epoch(self, epoch: int) -> Batches:
        """See Features."""
        members, samples, view = (
            self._materials.images.splits["train"],
            self._materials.samples,
            self._parts.view(epoch),
        )
        for positions in self._visits(epoch):
            indices = members[positions]
            yield self._run(samples.evaluation(indices) if view is None else samples.view(indices, view))

    def split(self, name: str) -> Batches:
        """See Features."""
        if len(self._materials.images.splits[name]) == 0:
            return
        view = self._parts.view(0) if name == "train" else None
        for batch in self._materials.ordered(name, self._frozen.batch_size, view):
            yield self._run(batch)

    def _run(self, batch: Batch) -> tuple[Tensor, Tensor]:
        return self._frozen.now(batch).float(), batch.labels.to(self._materials.device)


def features_of(
    backbone: Backbone,
    config: Extract,
    readout: Readout | None,
    compute: Compute,
    reporter: Reporter,
    stop_code: Callable[[], int | None],
) -> Frozen:
    """The backbone up to the features [B, D]."""
    m = backbone.materials
    features = {"pooling": config.pooling, "stages": list(config.stages)} if readout else "network's own"
    return Frozen(
        identity={**backbone.identity, "boundary": "features", "features": features},
        forward=lambda: forward_features(backbone.network, readout),
        compute=compute,
        place=m.place,
        batch_size=BATCH_SIZE[m.device.type],
        cache=m.cache,
        count=reporter.count,
        stop_code=stop_code,
    )


def forward_features(network: Network, readout: Readout | None) -> Forward:
    """Images [B, 3, H, W] to features [B, D]."""
    if readout is not None:
        return lambda images: readout(network, images)
    return lambda images: network.forward_to(len(network.stages) - 1, images)
