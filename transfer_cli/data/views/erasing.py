"""A rectangle of a view becomes noise, a random level for each pixel and channel.

"Random Erasing Data Augmentation" (Zhong 2020, arXiv 1708.04896).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from transfer_cli.config.schema import Augment
from transfer_cli.data.views.geometry import Pixels, first_fit
from transfer_cli.data.views.random_numbers import noise, uniforms

ASPECTS = (0.3, 1 / 0.3)
"""Width over height of the rectangle, from and to."""


def rectangles(params: Augment, seed: int, view: int, indices: NDArray[np.int64], size: int) -> NDArray[np.int64]:
    """Left, top, right, bottom of what is erased in views of `size` pixels, [N, 4]; no area: nothing is."""
    draws = uniforms(seed, view, indices, 23, "erase")
    side = np.full(len(indices), size)
    width, height, fits = first_fit(draws, params.erase_scale, ASPECTS, side, side)
    erased = fits & (draws[:, 22] < params.erase)
    corner, extent = draws[:, 20:22], np.stack([width, height], axis=1)
    extent = np.where(erased[:, None], np.rint(extent), 0)
    start = np.floor(corner * (size - extent + 1))
    return np.concatenate([start, start + extent], axis=1).astype(np.int64)


def erase(pixels: Pixels, rectangle: NDArray[np.int64], seed: int, view: int, index: int) -> None:
    """Fill the rectangle of `pixels` [S, S, C] with the noise of this (seed, view, index), in place."""
    left, top, right, bottom = rectangle.tolist()
    shape = (bottom - top, right - left, pixels.shape[2])
    filling = noise(seed, view, index, shape[0] * shape[1] * shape[2], "erase")
    pixels[top:bottom, left:right] = filling.reshape(shape)
