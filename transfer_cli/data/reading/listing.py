"""What a source of images reports before its splits are completed."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from transfer_cli.data.reading.decode import DecodeError, open_image
from transfer_cli.errors import one_line

Indices = NDArray[np.int64]

UNLABELLED = -1
"""The label of an image without one."""

MAX_FILE_BYTES = 2 * 2**30
"""More than any image below the pixel cap takes; a larger file is not read into memory."""

SPLIT_NAMES = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation", "dev"),
    "test": ("test", "testing"),
}
"""Our splits, and what others call them."""

_SPLIT_OF = {alias: split for split, aliases in SPLIT_NAMES.items() for alias in aliases}


def split_of(name: str) -> str | None:
    """The split that `name` stands for, in any case; None if it is no split's name."""
    return _SPLIT_OF.get(name.strip().lower())


class EncodedImages(Protocol):
    """The encoded images of samples, by index: JPEG, PNG ... as they lie on disk."""

    def encoded(self, index: int) -> bytes:
        """The bytes. Raises OSError, DecodeError for what cannot be an image, UserError for a damaged container."""
        ...

    def location(self, index: int) -> tuple[str, str]:
        """The file that holds them, and where in it; "" if they are all of it."""
        ...


@dataclass(frozen=True)
class ImageFiles:
    """Samples that are files of their own: key = path below `root` (an absolute key stands for itself)."""

    root: str
    keys: Sequence[str]

    def path(self, index: int) -> str:
        """Where a sample is."""
        return os.path.join(self.root, self.keys[index])

    def read(self, index: int) -> Image.Image:
        """Decode a sample."""
        return open_image(self.path(index))

    def encoded(self, index: int) -> bytes:
        """Bytes of the file. Raises OSError, or DecodeError for what cannot be an image."""
        status = os.stat(self.path(index))
        if not stat.S_ISREG(status.st_mode):
            raise DecodeError(self.path(index), "not a regular file")
        if status.st_size > MAX_FILE_BYTES:
            raise DecodeError(self.path(index), f"{status.st_size:,} bytes, too large for an image")
        with open(self.path(index), "rb") as file:
            return file.read()

    def location(self, index: int) -> tuple[str, str]:
        """The file, all of it."""
        return self.path(index), ""


@dataclass(frozen=True)
class Listing:
    """All samples of a data set, and the splits that it brings along.

    A sample's split depends on its key, so a key must not change when the data set moves: what is shown is the key
    below `prefix`.
    """

    classes: tuple[str, ...]
    """Empty where there are no labels."""
    keys: Sequence[str]
    labels: NDArray[np.int64]
    """Class of each sample; -1 throughout where there are no labels."""
    splits: Mapping[str, Indices]
    """Always "train"; "val" and "test" where the set has its own."""
    read: Callable[[int], Image.Image]
    prefix: str = ""
    files: bool = False
    """Whether `read` decodes what lies on disk, rather than take it from memory."""
    weights: NDArray[np.float32] | None = None
    """Weight of each sample in the loss, where the set says so."""
    groups: Sequence[str] | None = None
    """Which group each sample belongs to, "" for none, where `dataset.group` is a column of the set."""
    encoded: EncodedImages | None = None
    """The encoded images, or what determines generated ones; None where pixels are in memory."""
    notes: tuple[str, ...] = ()
    """What the user should be warned of."""
    published: bool = False
    """Whether its images are the same everywhere and always, as those of a package are; a user's own may change."""


def read_pixels(pixels: NDArray[np.uint8], index: int) -> Image.Image:
    """One of `pixels` [N, H, W] or [N, H, W, 3] as RGB."""
    return Image.fromarray(pixels[index]).convert("RGB")


def few(names: Sequence[str], most: int = 3) -> str:
    """Up to `most` names."""
    return ", ".join(map(one_line, names[:most])) + (", ..." if len(names) > most else "")
