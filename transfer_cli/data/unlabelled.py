"""Images without labels that join the training images of a labelled set: what a student can learn from as well."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from transfer_cli.data import folder
from transfer_cli.data.found import Contents
from transfer_cli.data.sources import ImageSet
from transfer_cli.errors import UserError

KEY = "dataset.unlabelled"
_NO_LABEL = -1


def join(images: ImageSet, path: str) -> ImageSet:
    """`images` with those below `path`, at any depth, at the end of "train": of label -1, weight 1.

    Raises UserError for a folder that is missing or empty, and for a set that is not read from files.
    """
    if not images.files or images.contents is None:
        raise UserError(
            f"{KEY}: dataset={images.name} is in memory; it can be joined to sets that are read from files."
        )
    try:
        found = folder.scan(path, labelled=False)
    except UserError as error:
        message = str(error).replace("dataset.path", KEY)
        raise UserError(message if KEY in message else f"{KEY}: {message}") from error
    assert found.contents is not None
    old, new = len(images.labels), len(found.keys)
    weights = images.weights
    return replace(
        images,
        ids=[*images.ids, *(found.prefix + key for key in found.keys)],
        labels=np.concatenate([images.labels, np.full(new, _NO_LABEL, np.int64)]),
        splits={**images.splits, "train": np.concatenate([images.splits["train"], np.arange(old, old + new)])},
        read=_Joined(images.read, found.read, old),
        notes=(*images.notes, *found.notes),
        weights=None if weights is None else np.concatenate([weights, np.ones(new, np.float32)]),
        contents=_JoinedContents(images.contents, found.contents, old),
    )


@dataclass(frozen=True)
class _Joined:
    """Samples below `count` from one reader, the others from a second."""

    first: Callable[[int], Image.Image]
    second: Callable[[int], Image.Image]
    count: int

    def __call__(self, index: int) -> Image.Image:
        return self.first(index) if index < self.count else self.second(index - self.count)


@dataclass(frozen=True)
class _JoinedContents:
    """See Contents."""

    first: Contents
    second: Contents
    count: int

    def content(self, index: int) -> bytes:
        """See Contents."""
        return self.first.content(index) if index < self.count else self.second.content(index - self.count)

    def place(self, index: int) -> tuple[str, str]:
        """See Contents."""
        return self.first.place(index) if index < self.count else self.second.place(index - self.count)
