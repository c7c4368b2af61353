"""Batches of uint8 pixels: shuffled and augmented for training, in data set order for evaluation.

Pixels are normalised later, on the device. A batch is a pure function of (seed, epoch, step), so the bytes are the
same for any number of workers and training resumes at any step without decoding what came before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from transfer_cli.config import Augment
from transfer_cli.data import views
from transfer_cli.data.augment import make_views, train_source, view_of
from transfer_cli.data.geometry import Pixels
from transfer_cli.data.sources import ImageSet
from transfer_cli.data.workers import run_jobs
from transfer_cli.models.preprocessing import RESAMPLING, Preprocessing

KEEP_BYTES = 512 * 2**20
"""Decoded pixels of a set that is in memory anyway are kept up to this size."""


@dataclass
class Batch:
    """B samples: pixels, classes, and their indices in the data set."""

    images: Tensor
    """uint8 [B, 3, S, S]; views are channels last."""
    labels: Tensor
    """int64 [B]."""
    indices: Tensor
    """int64 [B]."""
    extras: dict[str, Tensor] = field(default_factory=dict)
    """More of each sample, [B, ...]: `colour` float32 [B, 3, 4], a map of RGB values that the normalisation applies."""

    def __len__(self) -> int:
        return len(self.labels)


class TrainBatches:
    """Endless epochs of shuffled views. Each sample of the split is seen once an epoch."""

    def __init__(
        self,
        images: ImageSet,
        *,
        split: str = "train",
        preprocessing: Preprocessing,
        augment: Augment,
        batch_size: int,
        seed: int,
        workers: int,
    ) -> None:
        self._images, self._members = images, images.splits[split]
        self._preprocessing, self._augment = preprocessing, augment
        self._batch_size, self._seed, self._workers = batch_size, seed, workers
        self._resample = RESAMPLING[preprocessing.interpolation]
        self._source = _keeping(self._decode, images, len(self._members), workers)
        full, rest = divmod(len(self._members), batch_size)
        # BatchNorm cannot train on one sample: a last batch of one is dropped where there are others.
        self.steps_per_epoch = full + (rest > (1 if full and batch_size > 1 else 0))

    def epoch(self, epoch: int, start_step: int = 0) -> Iterator[Batch]:
        """The batches of an epoch from `start_step` on.

        Raises DecodeError for a damaged file and RunError where a worker dies or hangs.
        """
        visited = self._members[views.order(self._seed, epoch, len(self._members))]
        view = view_of(epoch, self._augment)

        def make(step: int) -> Batch:
            return self._make(visited[step * self._batch_size : (step + 1) * self._batch_size], view)

        return run_jobs(make, range(start_step, self.steps_per_epoch), self._workers)

    def _make(self, indices: NDArray[np.int64], view: int) -> Batch:
        """The given samples in the given view."""
        sources = [self._source(int(index)) for index in indices]
        size = self._preprocessing.crop_pixels
        made = make_views(sources, self._augment, self._seed, view, indices, size, self._resample)
        batch = _batch(torch.from_numpy(made.pixels).permute(0, 3, 1, 2), self._images, indices)
        if made.colour is not None:
            batch.extras["colour"] = torch.from_numpy(made.colour)
        return batch

    def _decode(self, index: int) -> Pixels:
        """Source pixels of a sample, uint8 [H, W, 3]; without random crops, the pixels of evaluation."""
        image = self._images.read(index)
        if self._augment.crop_scale is None:
            return np.ascontiguousarray(self._preprocessing.apply(image).numpy().transpose(1, 2, 0))
        return train_source(image, self._preprocessing.crop_pixels, self._resample)


class EvalBatches:
    """The images of a split in data set order, each once, as the weights' own preprocessing makes them."""

    def __init__(
        self, images: ImageSet, split: str, preprocessing: Preprocessing, batch_size: int, workers: int
    ) -> None:
        self._images, self._members = images, images.splits[split]
        self._preprocessing, self._batch_size, self._workers = preprocessing, batch_size, workers
        self._pixels = _keeping(self._decode, images, len(self._members), workers)

    def __len__(self) -> int:
        return -(-len(self._members) // self._batch_size)

    def __iter__(self) -> Iterator[Batch]:
        """Raises DecodeError for a damaged file and RunError where a worker dies or hangs."""
        return run_jobs(self._make, range(len(self)), self._workers)

    def _make(self, step: int) -> Batch:
        """Batch number `step`."""
        indices = self._members[step * self._batch_size : (step + 1) * self._batch_size]
        pixels = np.stack([self._pixels(int(index)) for index in indices])
        return _batch(torch.from_numpy(pixels), self._images, indices)

    def _decode(self, index: int) -> Pixels:
        """Evaluation pixels of a sample, uint8 [3, S, S]."""
        pixels: Pixels = self._preprocessing.apply(self._images.read(index)).numpy()
        return pixels


def _batch(pixels: Tensor, images: ImageSet, indices: NDArray[np.int64]) -> Batch:
    """Pixels [B, 3, S, S] with the labels of their samples."""
    return Batch(pixels, torch.from_numpy(images.labels[indices]), torch.from_numpy(indices.copy()))


def _keeping(decode: Callable[[int], Pixels], images: ImageSet, count: int, workers: int) -> Callable[[int], Pixels]:
    """`decode` that remembers its results where they fit: in this process, for a set without files."""
    if images.files or workers > 0:
        return decode
    kept: dict[int, Pixels] = {}

    def get(index: int) -> Pixels:
        pixels = kept.get(index)
        if pixels is None:
            pixels = decode(index)
            if pixels.nbytes * count <= KEEP_BYTES:
                kept[index] = pixels
        return pixels

    return get
