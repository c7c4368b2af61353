"""Images without labels that join the training images of a labelled set: what a student can learn from as well."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from transfer_cli.data.reading.image_set import ImageSet, reader
from transfer_cli.data.reading.listing import UNLABELLED, EncodedImages, Indices
from transfer_cli.data.reading.paths import missing
from transfer_cli.data.sources import folder
from transfer_cli.errors import UserError
from transfer_cli.models.bands import Picture

KEY = "dataset.unlabelled"


def join(images: ImageSet, path: str) -> ImageSet:
    """`images` with those below `path` at the end of "train": of label -1, weight 1.

    Of a folder with train/ (val/, test/) only train/ joins, else everything at any depth. Files that are in a split of
    `images` stay what they are there, so that the same folder gives its training images that have no label yet.
    Raises UserError for a folder that is missing, empty or all in use, and for a set that is not read from files.
    """
    if not images.files or images.encoded is None:
        raise UserError(f"{KEY}: dataset={images.name} is in memory; only sets that are read from files can be joined.")
    problem = missing(KEY, path)
    if problem is not None:
        raise UserError(problem)
    try:
        found = folder.scan(Path(path).expanduser(), labelled=False, arrays=images.channels is not None)
    except UserError as error:
        raise UserError(f"{KEY}: {error}") from error
    assert found.encoded is not None
    used = _files(images.encoded, np.concatenate([*images.splits.values()]))
    chosen = np.array(
        [index for index in found.splits["train"].tolist() if _file(found.encoded, index) not in used], np.int64
    )
    if len(chosen) == 0:
        raise UserError(f"{KEY}={path}: all its images are in the data set already.")
    encoded = _Encoded(images.encoded, found.encoded, len(images.labels), chosen)
    ids = [*images.ids, *(found.prefix + found.keys[index] for index in chosen)]
    old, new = len(images.labels), len(chosen)
    weights = images.weights
    return replace(
        images,
        ids=ids,
        labels=np.concatenate([images.labels, np.full(new, UNLABELLED, np.int64)]),
        splits={**images.splits, "train": np.concatenate([images.splits["train"], np.arange(old, old + new)])},
        read=reader(_Read(images.read, found.read, old, chosen), encoded, ids, images.max_pixels, images.channels),
        notes=(*images.notes, *found.notes),
        weights=None if weights is None else np.concatenate([weights, np.ones(new, np.float32)]),
        groups=None,
        encoded=encoded,
    )


def _files(encoded: EncodedImages, indices: Indices) -> set[str]:
    return {_file(encoded, index) for index in indices.tolist()}


def _file(encoded: EncodedImages, index: int) -> str:
    """The one name of the file that a sample is, or lies in."""
    file, inside = encoded.location(index)
    parent, name = os.path.split(file)
    return os.path.join(_real(parent), name) + inside


@functools.lru_cache(maxsize=4096)
def _real(parent: str) -> str:
    return os.path.realpath(parent)


@dataclass(frozen=True)
class _Read:
    """Samples below `count` from one reader, the others from a second, where they are number `chosen`."""

    first: Callable[[int], Picture]
    second: Callable[[int], Picture]
    count: int
    chosen: Indices

    def __call__(self, index: int) -> Picture:
        return self.first(index) if index < self.count else self.second(int(self.chosen[index - self.count]))


@dataclass(frozen=True)
class _Encoded:
    """The encoded images of both; `count` and `chosen` as for reading."""

    first: EncodedImages
    second: EncodedImages
    count: int
    chosen: Indices

    def encoded(self, index: int) -> bytes:
        """The bytes of a sample, from whichever of the two has it."""
        images, own = self._whose(index)
        return images.encoded(own)

    def location(self, index: int) -> tuple[str, str]:
        """The file that holds a sample, and where in it."""
        images, own = self._whose(index)
        return images.location(own)

    def _whose(self, index: int) -> tuple[EncodedImages, int]:
        return (self.first, index) if index < self.count else (self.second, int(self.chosen[index - self.count]))
