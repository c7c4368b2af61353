"""Features of a data set's splits: from cached activations, or from the backbone run again whenever they are wanted."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from transfer_cli.cache.activations import Activations
from transfer_cli.config import Augment
from transfer_cli.data import views
from transfer_cli.data.augment import view_of
from transfer_cli.data.batches import Batch
from transfer_cli.engine.frozen import Frozen, Part
from transfer_cli.modes.building import Materials
from transfer_cli.strategies.extract import Batches

ROWS_AT_ONCE = 4096
# Training sees the pixels of evaluation where no repeating views are asked for.
PLAIN = Augment("none", None, None, (1.0, 1.0), 0.0, 0.0, 0.0, 0.0)


@dataclass(frozen=True)
class Visits:
    """Which training samples make up the batches of an epoch: a function of (seed, epoch)."""

    seed: int
    count: int
    batch_size: int

    def __call__(self, epoch: int) -> list[NDArray[np.int64]]:
        """Positions among the training samples, a batch each. A last batch of one is left out, as in the loop."""
        order = views.order(self.seed, epoch, self.count)
        batches = [order[start : start + self.batch_size] for start in range(0, self.count, self.batch_size)]
        return batches[:-1] if len(batches) > 1 and len(batches[-1]) == 1 < self.batch_size else batches


class CachedFeatures:
    """Rows of cached activations. The backbone runs at most once for each sample and view, in this run or before."""

    def __init__(self, materials: Materials, frozen: Frozen, batch_size: int) -> None:
        self._frozen, self._parts = frozen, Parts(materials)
        images = materials.images
        self._labels = {split: torch.from_numpy(images.labels[images.splits[split]]) for split in images.splits}
        self._visits = Visits(materials.experiment.seed, len(self._labels["train"]), batch_size)
        self._device = materials.device
        self._read: dict[tuple[str, int | None], Activations] = {}
        self.classes = len(images.classes)

    @property
    def width(self) -> int:
        """D."""
        return int(self._of("train", self._parts.view(0)).mapped.shape[1])

    def compute(self) -> None:
        """Fill what is missing of all splits and views."""
        for split, view in self._parts.wanted():
            self._of(split, view)

    def epoch(self, epoch: int) -> Batches:
        """See Features."""
        rows = self._of("train", self._parts.view(epoch))
        for positions in self._visits(epoch):
            yield self._batch(rows.rows(positions), self._labels["train"][positions])

    def split(self, name: str) -> Batches:
        """See Features."""
        labels = self._labels[name]
        if len(labels) == 0:
            return
        rows = self._of(name, self._parts.view(0) if name == "train" else None)
        for start in range(0, len(labels), ROWS_AT_ONCE):
            positions = np.arange(start, min(start + ROWS_AT_ONCE, len(labels)))
            yield self._batch(rows.rows(positions), labels[positions])

    def _of(self, split: str, view: int | None) -> Activations:
        if (split, view) not in self._read:
            self._read[split, view] = self._frozen.of(self._parts.part(split, view))
        return self._read[split, view]

    def _batch(self, rows: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        return rows.to(self._device).float(), labels.to(self._device)


class LiveFeatures:
    """The same features, from a backbone that runs in every epoch: what caching is measured against."""

    def __init__(self, materials: Materials, frozen: Frozen, batch_size: int) -> None:
        self._materials, self._frozen, self._parts = materials, frozen, Parts(materials)
        self._visits = Visits(materials.experiment.seed, len(materials.images.splits["train"]), batch_size)
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


@dataclass(frozen=True)
class Parts:
    """What a frozen prefix is run on in this run: the splits, and the views of the training images."""

    materials: Materials

    def view(self, epoch: int) -> int | None:
        """The view of an epoch; None where training sees the pixels of evaluation."""
        augment = self.materials.augment
        return None if shows_evaluation_pixels(augment) else view_of(epoch, augment)

    def wanted(self) -> list[tuple[str, int | None]]:
        """Every (split, view) that has images."""
        augment = self.materials.augment
        training: list[int | None] = [None] if shows_evaluation_pixels(augment) else list(range(augment.views or 0))
        pairs = [("train", view) for view in training] + [("val", None), ("test", None)]
        return [(split, view) for split, view in pairs if len(self.materials.images.splits[split])]

    def part(self, split: str, view: int | None) -> Part:
        """The samples of a split in a view."""
        m = self.materials
        indices = m.images.splits[split]
        key = {"samples": m.pixels.store.fingerprint(indices), "preprocessing": m.preprocessing.to_dict()}
        if view is not None:
            key["augment"] = view_key(m.augment, m.experiment.seed, m.experiment.dataset.source_factor, indices)
        return Part(split, view, len(indices), key, lambda size: m.ordered(split, size, view))


def shows_evaluation_pixels(augment: Augment) -> bool:
    """Whether every view is the pixels of evaluation, whatever the recipe is called."""
    return replace(augment, name=PLAIN.name, views=None, crop_ratio=PLAIN.crop_ratio) == PLAIN


def view_key(augment: Augment, seed: int, source_factor: float, indices: NDArray[np.int64]) -> dict[str, Any]:
    """All that a view depends on besides the samples: the recipe, the seed, and the samples' numbers in the set."""
    recipe = {key: value for key, value in asdict(augment).items() if key not in ("name", "views")}
    numbers = hashlib.sha256(np.ascontiguousarray(indices).tobytes()).hexdigest()
    return {"recipe": recipe, "seed": seed, "source_factor": source_factor, "indices": numbers}
