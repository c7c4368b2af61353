"""A picture of any number of channels, with what is asked of pictures here: Pillow's own stop at four."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image


@dataclass(frozen=True)
class Bands:
    """C channels of one size, each a grey picture, so that none colours another: alpha is a channel like any."""

    planes: tuple[Image.Image, ...]
    """Of mode L."""

    @classmethod
    def of(cls, pixels: NDArray[np.uint8]) -> Bands:
        """The picture of pixels [H, W, C]."""
        planes = (np.ascontiguousarray(pixels[..., channel]) for channel in range(pixels.shape[2]))
        return cls(tuple(Image.fromarray(plane) for plane in planes))

    @property
    def size(self) -> tuple[int, int]:
        """Width and height."""
        width, height = self.planes[0].size
        return width, height

    def map(self, change: Callable[[Image.Image], Image.Image]) -> Bands:
        """The picture with each of its channels changed."""
        return Bands(tuple(change(plane) for plane in self.planes))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        """Pixels, uint8 [H, W, C]."""
        return np.stack([np.asarray(plane, dtype=dtype) for plane in self.planes], axis=-1)


Picture = Image.Image | Bands
"""RGB as Pillow has it, or channels."""
