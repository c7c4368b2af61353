"""Images with three splits: the one shape that every data set takes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from transfer_cli.data.reading.decode import DecodeError, open_image
from transfer_cli.data.reading.listing import EncodedImages, Indices


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
    read: Callable[[int], Image.Image]
    """Decodes one sample to RGB; raises DecodeError naming the file."""
    notes: tuple[str, ...]
    """What the user should be warned of."""
    files: bool
    """Whether `read` decodes files (slow, worth worker processes)."""
    may_change: bool = True
    """Whether another run may find other images under the same names."""
    weights: NDArray[np.float32] | None = None
    """Weight of each sample in the loss where the set says so, float32 [N]; 1 on average over "train"."""
    max_pixels: int | None = None
    """The most pixels that an image may have; None: MAX_PIXELS."""
    folder: str = ""
    """What `ids` begin with, which changes where the same images are moved elsewhere."""
    encoded: EncodedImages | None = None
    """Where each image lies and its bytes, for a set with `files`; what determines an image that is generated."""


def reader(
    read: Callable[[int], Image.Image], encoded: EncodedImages | None, ids: Sequence[str], max_pixels: int | None
) -> Callable[[int], Image.Image]:
    """`read`, or where there is a cap of its own, what reads the same encoded images under that cap."""
    return read if max_pixels is None or encoded is None else _Capped(encoded, ids, max_pixels)


@dataclass(frozen=True)
class _Capped:
    """Reads samples under a cap, also in a worker process."""

    encoded: EncodedImages
    ids: Sequence[str]
    max_pixels: int

    def __call__(self, index: int) -> Image.Image:
        try:
            data = self.encoded.encoded(index)
        except OSError as error:
            raise DecodeError(self.ids[index], str(error.strerror or error).lower()) from error
        return open_image(data, name=self.ids[index], max_pixels=self.max_pixels)
