"""Batches of uint8 pixels: shuffled and augmented for training, in data set order for evaluation.

Pixels are normalised later, on the device. A batch is a pure function of (seed, epoch, step), so the bytes are the
same for any store and number of workers, and training resumes at any step without decoding what came before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from itertools import pairwise
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from transfer_cli.config.schema import Augment
from transfer_cli.data.balance import balanced_order
from transfer_cli.data.reading.image_set import ImageSet
from transfer_cli.data.reading.listing import UNLABELLED, Indices
from transfer_cli.data.reading.workers import run_jobs
from transfer_cli.data.store.parts import evaluation_pixels, view_pixels
from transfer_cli.data.store.protocol import Store, ViewRecipe
from transfer_cli.data.views.augment import view_of
from transfer_cli.data.views.mixing import Mixes, mixing_order
from transfer_cli.data.views.random_numbers import order
from transfer_cli.models.preprocessing import Preprocessing

ORDERS: dict[str, Callable[[int, int, Indices], Indices]] = {
    "uniform": lambda seed, epoch, labels: order(seed, epoch, len(labels)),
    "balanced": balanced_order,
}
"""From seed, epoch and labels to the positions that an epoch visits."""


@dataclass(frozen=True)
class Batch:
    """B samples: inputs, classes, indices in the data set, and what else a training may need of each."""

    inputs: Tensor
    """uint8 pixels [B, 3, S, S], channels last in memory; on the device what the network takes, float."""
    labels: Tensor
    """int64 [B]; -1 for an image without a label."""
    indices: Tensor
    """int64 [B]."""
    stage: int = 0
    """The number of the stage that the inputs enter at: above 0 they are activations of a frozen prefix."""
    weights: Tensor | None = None
    """How much each sample counts in the loss, float32 [B]."""
    colour: Tensor | None = None
    """Maps of RGB values, float32 [B, 3, 4], to be applied as pixels are normalised."""
    mixes: Mixes | None = None
    """How images are to be mixed with each other on the device."""
    targets: Tensor | None = None
    """Probabilities float32 [B, K] in place of the labels, where images were mixed."""
    teacher: Tensor | None = None
    """Outputs of the teachers, float [B, sum of their widths]."""
    negatives: Tensor | None = None
    """Indices of other samples that each sample is contrasted with, int64 [B, M]."""
    whole: int | None = None
    """Samples of the step on all ranks together; None: these are all."""
    idle: bool = False
    """Whether these samples are another rank's: the step has none for this one, and they must not count."""
    extra: int = 0
    """Samples at the end that are here to be mixed with, and are another rank's."""

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def own(self) -> Tensor:
        """The indices of the samples that are this rank's, int64 [at most B]: those of all ranks are the step's."""
        return self.indices[: 0 if self.idle else len(self.indices) - self.extra]

    def __getitem__(self, rows: slice) -> Batch:
        """Some of the samples, without a copy."""
        return self._with(lambda tensor: tensor[rows])

    def split(self, size: int) -> list[Batch]:
        """As few parts of at most `size` samples as can be, equally large: BatchNorm cannot train on a rest of one."""
        count = -(-len(self) // size)
        edges = [len(self) * part // count for part in range(count + 1)]
        return [self[start:end] for start, end in pairwise(edges)]

    def to(self, device: torch.device, **changes: Tensor | None) -> Batch:
        """On a device, but for `indices`, which stay where they are; `changes` replace fields before."""
        return replace(self, **changes).moved(lambda tensor: tensor.to(device, non_blocking=True))  # type: ignore[arg-type]

    def moved(self, move: Callable[[Tensor], Tensor]) -> Batch:
        """Every tensor but `indices` as `move` gives it."""
        return self._with(move, but="indices")

    def _with(self, change: Callable[[Tensor], Tensor], but: str | None = None) -> Batch:
        """Every tensor changed."""
        values = {field.name: getattr(self, field.name) for field in fields(self) if field.name != but}
        changed: dict[str, Any] = {name: change(value) for name, value in values.items() if isinstance(value, Tensor)}
        mixes = self.mixes and Mixes(*(change(getattr(self.mixes, field.name)) for field in fields(self.mixes)))
        return replace(self, **changed, mixes=mixes)


def batch_of(images: ImageSet, inputs: Tensor, indices: Indices) -> Batch:
    """Inputs [B, ...] of samples with what the data set says of them: labels, and weights where it has some."""
    labels, own = torch.from_numpy(images.labels[indices]), torch.from_numpy(indices.copy())
    weights = None if images.weights is None else torch.from_numpy(images.weights[indices])
    return Batch(inputs, labels, own, weights=weights)


def unlabelled(pixels: Tensor, colour: Tensor | None = None) -> Batch:
    """Pixels of images that are of no set and of no known class."""
    unknown = torch.full((len(pixels),), UNLABELLED, dtype=torch.int64)
    return Batch(pixels, unknown, unknown, colour=colour)


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
        return self._batch(evaluation_pixels(self.store, indices), indices)

    def view(self, indices: Indices, view: int) -> Batch:
        """Samples in view number `view`: the same bytes alone, in any batch, in any process."""
        recipe = ViewRecipe(self.augment, self.seed, self.preprocessing.crop_pixels, self.preprocessing.interpolation)
        inputs, colour = view_pixels(self.store, indices, recipe, view)
        return replace(self._batch(inputs, indices), colour=colour)

    def _batch(self, inputs: Tensor, indices: Indices) -> Batch:
        """Pixels [B, 3, S, S] with the labels of their samples."""
        if self.pinned and inputs.device.type == "cpu":
            inputs = inputs.pin_memory()
        return batch_of(self.images, inputs, indices)


class Visit(NamedTuple):
    """What one rank sees of a step: positions in the split, and what `Batch` says of them."""

    positions: Indices
    whole: int | None = None
    idle: bool = False
    extra: int = 0


@dataclass(frozen=True)
class Shard:
    """Which samples of each step are those of one rank, where `size` of them train together.

    A stretch of the step, in whole pairs: BatchNorm cannot train on a single sample. A rank for which there is none
    sees the first pair.
    """

    rank: int = 0
    size: int = 1

    def visit(self, step: Indices, order: Indices | None = None) -> Visit:
        """The part of a step's positions. `order`: in which each sample is mixed with the next; that one comes along.

        One rank has the step as it is.
        """
        if self.size == 1:
            return Visit(step)
        count = len(step)
        first, last = self.stretch(count)
        idle = first == last
        if idle:
            first, last = 0, self._end_of_pair(count, 1)
        if order is None:
            return Visit(step[first:last], count, idle)
        return Visit(step[order[np.arange(first, last + 1) % count]], count, idle, extra=1)

    def stretch(self, count: int) -> tuple[int, int]:
        """The first of a step's samples that is this rank's, and the first behind its last; equal where it has none."""
        return self._edge(count, self.rank), self._edge(count, self.rank + 1)

    def _edge(self, count: int, rank: int) -> int:
        return self._end_of_pair(count, max(count // 2, 1) * rank // self.size)

    def _end_of_pair(self, count: int, pairs: int) -> int:
        """Samples in the first pairs of a step; an odd one joins the first."""
        return min(2 * pairs + count % 2, count) if pairs else 0

    def mine(self, steps: range) -> range:
        """Those of some batches, in order, that are this rank's."""
        return steps[self.rank :: self.size]


WHOLE = Shard()


class Epochs(Protocol):
    """Shuffled batches of training samples."""

    steps_per_epoch: int

    def epoch(self, epoch: int, start_step: int = 0) -> Iterator[Batch]:
        """The batches of an epoch from `start_step` on."""
        ...


def of_visit(batch: Batch, visit: Visit) -> Batch:
    """The batch of a visit's samples, which knows what share of the step they are."""
    return replace(batch, whole=visit.whole, idle=visit.idle, extra=visit.extra)


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
        shard: Shard = WHOLE,
        mixes: bool = False,
    ) -> None:
        """The sampler is `uniform` or `balanced`; `mixes`: samples of a step are mixed with each other."""
        self._samples, self._members, self._sampler = samples, samples.images.splits[split], sampler
        self._shard, self._mixes = shard, mixes
        self._batch_size, self._workers = batch_size, workers
        full, rest = divmod(len(self._members), batch_size)
        # BatchNorm cannot train on one sample: a last batch of one is dropped where there are others.
        self.steps_per_epoch = full + (rest >= (2 if full and batch_size > 1 else 1))

    def visits(self, epoch: int) -> list[Visit]:
        """The samples of each step of an epoch, as positions in the split; of one rank where there are several."""
        order = ORDERS[self._sampler](self._samples.seed, epoch, self._samples.images.labels[self._members])
        steps = range(0, self.steps_per_epoch * self._batch_size, self._batch_size)
        return [self._visit(epoch, order[first : first + self._batch_size]) for first in steps]

    def _visit(self, epoch: int, step: Indices) -> Visit:
        if not self._mixes or self._shard.size == 1:
            return self._shard.visit(step)
        samples, view = self._samples, view_of(epoch, self._samples.augment)
        return self._shard.visit(step, mixing_order(samples.seed, view, self._members[step]))

    def epoch(self, epoch: int, start_step: int = 0) -> Iterator[Batch]:
        """The batches of an epoch from `start_step` on.

        Raises DecodeError for a damaged file and RunError where a worker dies or hangs.
        """
        visits, view = self.visits(epoch), view_of(epoch, self._samples.augment)

        def make(step: int) -> Batch:
            visit = visits[step]
            return of_visit(self._samples.view(self._members[visit.positions], view), visit)

        return _ahead(self._samples.store, make, range(start_step, self.steps_per_epoch), self._workers)


class OrderedBatches:
    """Samples in the given order, each once, as `make` shows them: `Samples.evaluation`, or one view of them all."""

    def __init__(
        self,
        samples: Samples,
        indices: Indices,
        *,
        view: int | None = None,
        batch_size: int,
        workers: int,
        shard: Shard = WHOLE,
    ) -> None:
        """`view` is None for evaluation pixels."""
        self._samples, self._indices, self._view = samples, indices, view
        self._batch_size, self._workers = batch_size, workers
        self._steps = shard.mine(range(-(-len(self._indices) // self._batch_size)))

    def __len__(self) -> int:
        return len(self._steps)

    def __iter__(self) -> Iterator[Batch]:
        """Raises DecodeError for a damaged file and RunError where a worker dies or hangs."""
        return _ahead(self._samples.store, self._make, self._steps, self._workers)

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
