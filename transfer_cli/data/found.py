"""What a source of images reports before splits are completed: the seam between kinds of data sets and `load`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Indices = NDArray[np.int64]


@dataclass(frozen=True)
class Found:
    """All samples of a data set, and the splits that it brings along.

    A sample's split depends on its key, so a key must not change when the data set moves: display paths are
    `prefix` + key.
    """

    classes: tuple[str, ...]
    keys: Sequence[str]
    labels: NDArray[np.int64]
    splits: Mapping[str, Indices]
    """Always "train"; "val" and "test" where the set has its own."""
    read: Callable[[int], Image.Image]
    prefix: str = ""
    files: bool = False
    notes: tuple[str, ...] = field(default=())
