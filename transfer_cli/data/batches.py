"""Batches of uint8 pixels: shuffled and augmented for training, in data set order for evaluation.

Pixels are normalised later, on the device. A batch is a pure function of (seed, epoch, step), so the bytes are the
same for any store and number of workers, and training resumes at any step without decoding what came before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Protocol

import torch
from torch import Tensor

from transfer_cli.config.schema import Augment
from transfer_cli.data.balance import balanced_order
from transfer_cli.data.reading.image_set import ImageSet
from transfer_cli.data.reading.listing import Indices
from transfer_cli.data.reading.workers import run_jobs
from transfer_cli.data.store.protocol import Store, ViewRecipe
from transfer_cli.data.views.augment import view_of
from transfer_cli.data.views.draws import order
from transfer_cli.models.preprocessing import Preprocessing

ORDERS: dict[str, Callable[[int, int, Indices], Indices]] = {
    "uniform": lambda seed, epoch, labels: order(seed, epoch, len(labels)),
    "balanced": balanced_order,
}
"""From seed, epoch and labels to the positions that an epoch visits."""


@dataclass
class Batch:
    """B samples: pixels, classes, and their indices in the data set."""

    inputs: Tensor
    """uint8 pixels [B, 3, S, S], channels last in memory; on the device what the network takes, float."""
    labels: Tensor
    """int64 [B]."""
    indices: Tensor
    """int64 [B]."""
    extras: dict[str, Tensor] = field(default_factory=dict)
    """More about each sample, [B, ...]: `colour` float32 [B, 3, 4] maps RGB values as pixels are normalised."""

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, rows: slice) -> Batch:
        """Some of the samples, without a copy."""
        extras = {name: values[rows] for name, values in self.extras.items()}
        return Batch(self.inputs[rows], self.labels[rows], self.indices[rows], extras)

    def split(self, size: int) -> list[Batch]:
        """As few parts of at most `size` samples as can be, equally large: BatchNorm cannot train on a rest of one."""
        count = -(-len(self) // size)
        edges = [len(self) * part // count for part in range(count + 1)]
        return [self[start:end] for start, end in pairwise(edges)]


def batch_of(images: ImageSet, inputs: Tensor, indices: Indices) -> Batch:
    """Inputs [B, ...] of samples with what the data set says of them: labels, and weights where it has some."""
    labels, own = torch.from_numpy(images.labels[indices]), torch.from_numpy(indices.copy())
    extras = {} if images.weights is None else {"weight": torch.from_numpy(images.weights[indices])}
    return Batch(inputs, labels, own, extras)


@dataclass(frozen=True)
class Samples:
    """What batches are made from: images, their decoded pixels, and how training views are cut."""

    images: ImageSet
    store: Store
    preprocessing: Preprocessing
    augment: Augment
    seed: int
    pinned: bool = False
    """In memory that a GPU can copy from while the host goes on. Not for worker processes."""

    def evaluation(self, indices: Indices) -> Batch:
        """The pixels that the weights' own preprocessing makes of samples."""
        return self._batch(self.store.batch(indices), indices)

    def view(self, indices: Indices, view: int) -> Batch:
        """Samples in view number `view`: the same bytes alone, in any batch, in any process."""
        size, interpolation = self.preprocessing.crop_pixels, self.preprocessing.interpolation
        recipe = ViewRecipe(self.augment, self.seed, size, interpolation)
        inputs, colour = self.store.views(indices, recipe, view)
        batch = self._batch(inputs, indices)
        if colour is not None:
            batch.extras["colour"] = torch.from_numpy(colour)
        return batch

    def _batch(self, inputs: Tensor, indices: Indices) -> Batch:
        """Pixels [B, 3, S, S] with the labels of their samples."""
        if self.pinned and inputs.device.type == "cpu":
            inputs = inputs.pin_memory()
        return batch_of(self.images, inputs, indices)


class Epochs(Protocol):
    """Shuffled batches of training samples."""

    steps_per_epoch: int

    def epoch(self, epoch: int, start_step: int = 0) -> Iterator[Batch]:
        """The batches of an epoch from `start_step` on."""
        ...


class TrainBatches:
    """Endless epochs of shuffled views. Each sample of the split is seen once an epoch, or each class equally often."""

    def __init__(
        self,
        samples: Samples,
        *,
        split: str = "train",
        sampler: str = "uniform",
        batch_size: int,
        workers: int,
    ) -> None:
        """The sampler is `uniform` or `balanced`."""
        self._samples, self._members, self._sampler = samples, samples.images.splits[split], sampler
        self._batch_size, self._workers = batch_size, workers
        full, rest = divmod(len(self._members), batch_size)
        # BatchNorm cannot train on one sample: a last batch of one is dropped where there are others.
        self.steps_per_epoch = full + (rest >= (2 if full and batch_size > 1 else 1))

    def visits(self, epoch: int) -> list[Indices]:
        """The samples of each step of an epoch, as positions in the split."""
        labels = self._samples.images.labels[self._members]
        order = ORDERS[self._sampler](self._samples.seed, epoch, labels)
        steps = range(0, self.steps_per_epoch * self._batch_size, self._batch_size)
        return [order[first : first + self._batch_size] for first in steps]

    def epoch(self, epoch: int, start_step: int = 0) -> Iterator[Batch]:
        """The batches of an epoch from `start_step` on.

        Raises DecodeError for a damaged file and RunError where a worker dies or hangs.
        """
        visits, view = self.visits(epoch), view_of(epoch, self._samples.augment)

        def make(step: int) -> Batch:
            return self._samples.view(self._members[visits[step]], view)

        return _ahead(self._samples.store, make, range(start_step, self.steps_per_epoch), self._workers)


class OrderedBatches:
    """Samples in the given order, each once, as `make` shows them: `Samples.evaluation`, or one view of them all."""

    def __init__(
        self, samples: Samples, indices: Indices, *, view: int | None = None, batch_size: int, workers: int
    ) -> None:
        """`view` is None for evaluation pixels."""
        self._samples, self._indices, self._view = samples, indices, view
        self._batch_size, self._workers = batch_size, workers

    def __len__(self) -> int:
        return -(-len(self._indices) // self._batch_size)

    def __iter__(self) -> Iterator[Batch]:
        """Raises DecodeError for a damaged file and RunError where a worker dies or hangs."""
        return _ahead(self._samples.store, self._make, range(len(self)), self._workers)

    def _make(self, step: int) -> Batch:
        """Batch number `step`."""
        indices = self._indices[step * self._batch_size : (step + 1) * self._batch_size]
        return self._samples.evaluation(indices) if self._view is None else self._samples.view(indices, self._view)


def _ahead(store: Store, make: Callable[[int], Batch], steps: range, workers: int) -> Iterator[Batch]:
    """The batches of `steps`, made ahead by workers: processes where each batch is decoded, else threads."""
    for batch in run_jobs(make, steps, workers, threads=not store.decodes):
        if store.decodes:
            store.images_decoded += len(batch)
        yield batch
