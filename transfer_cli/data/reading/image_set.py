"""Images with three splits: the one shape that every data set takes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from transfer_cli.data.reading.bands.open import open_picture, taken_from
from transfer_cli.data.reading.decode import DecodeError
from transfer_cli.data.reading.listing import EncodedImages, Indices
from transfer_cli.models.bands import Picture


@dataclass(frozen=True)
class ImageSet:
    """N images with three splits, whatever they were read from."""

    name: str
    classes: tuple[str, ...]
    """Empty where there are no labels."""
    ids: Sequence[str]
    """What to call a sample: its file, or for instance "digits/17"."""
    labels: NDArray[np.int64]
    """Class of each sample, int64 [N]; -1 throughout where there are no labels."""
    splits: dict[str, Indices]
    """Ascending sample indices of "train", "val" and "test"."""
    read: Callable[[int], Picture]
    """Decodes one sample to RGB, or its channels; raises DecodeError naming the file."""
    notes: tuple[str, ...]
    """What the user should be warned of."""
    files: bool
    """Whether `read` decodes files (slow, worth worker processes)."""
    may_change: bool = True
    """Whether another run may find other images under the same names."""
    weights: NDArray[np.float32] | None = None
    """Weight of each sample in the loss where the set says so, float32 [N]; 1 on average over "train"."""
    groups: NDArray[np.int64] | None = None
    """Which images belong together, a number for each sample [N]; None: each stands for itself."""
    max_pixels: int | None = None
    """The most pixels that an image may have; None: MAX_PIXELS."""
    folder: str = ""
    """What `ids` begin with, which changes where the same images are moved elsewhere."""
    channels: int | None = None
    """How many each image has, as they are; None: RGB."""
    encoded: EncodedImages | None = None
    """Where each image lies and its bytes, for a set with `files`; what determines an image that is generated."""

    def labelled(self, split: str) -> int:
        """How many images of a split have a label."""
        return int((self.labels[self.splits[split]] >= 0).sum())


def reader(
    read: Callable[[int], Picture],
    encoded: EncodedImages | None,
    ids: Sequence[str],
    max_pixels: int | None,
    channels: int | None,
) -> Callable[[int], Picture]:
    """`read`, or where there is a cap of its own, or channels are asked for, what reads the same images so."""
    if encoded is None:
        return read if channels is None else _Taken(read, ids, channels)
    return read if max_pixels is None and channels is None else _Asked(encoded, ids, max_pixels, channels)


@dataclass(frozen=True)
class _Taken:
    """The channels of images that are in memory."""

    read: Callable[[int], Picture]
    ids: Sequence[str]
    channels: int

    def __call__(self, index: int) -> Picture:
        return taken_from(self.read(index), self.channels, self.ids[index])


@dataclass(frozen=True)
class _Asked:
    """Reads samples under a cap, or with channels of their own, also in a worker process."""

    encoded: EncodedImages
    ids: Sequence[str]
    max_pixels: int | None
    channels: int | None

    def __call__(self, index: int) -> Picture:
        try:
            data = self.encoded.encoded(index)
        except OSError as error:
            raise DecodeError(self.ids[index], str(error.strerror or error).lower()) from error
        return open_picture(data, channels=self.channels, name=self.ids[index], max_pixels=self.max_pixels)
