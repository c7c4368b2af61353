"""Training views: a recipe applied to samples as a pure function of (seed, view, index).

A decoded image first becomes its source pixels (aspect kept, moderate size: what a pixel store holds), and a view is
cut from those. Everything random is drawn for the batch before a pixel is touched. What acts on pixels runs here, on
the host, in this order: crop with rotation and shear, flips, policy, hue, erasing. What is affine in colour is only
described here, and applied on the device with the normalisation.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from transfer_cli.config.schema import Augment
from transfer_cli.data.views import colour, erasing, geometry, policies
from transfer_cli.data.views.geometry import Doubles, Pixels
from transfer_cli.models.bands import Picture


@dataclass(frozen=True)
class Views:
    """B views."""

    pixels: Pixels
    """[B, S, S, C], contiguous."""
    colour: NDArray[np.float32] | None
    """Affine maps of RGB values (0..255) still to be applied, [B, 3, 4]; None where the recipe has none."""


def view_of(epoch: int, params: Augment) -> int:
    """The view that an epoch shows."""
    return epoch if params.views is None else epoch % params.views


def train_source(image: Picture, crop_pixels: int, resample: Image.Resampling, factor: float) -> Pixels:
    """`image` with its short side at `factor` * crop_pixels, never enlarged: uint8 [H, W, C]."""
    scale = factor * crop_pixels / min(image.size)
    if scale >= 1:
        return np.array(image)
    width, height = (max(1, round(side * scale)) for side in image.size)
    return geometry.resized(np.asarray(image), width, height, resample)


def make_views(
    sources: list[Pixels],
    params: Augment,
    seed: int,
    view: int,
    indices: NDArray[np.int64],
    size: int,
    resample: Image.Resampling,
) -> Views:
    """The views of B source images, each [h, w, C]; without random crops these have [size, size, C] already."""
    recipe = _draw(params, sources, seed, view, indices, size)
    channels = sources[0].shape[2] if sources else 3
    out = np.empty((len(sources), size, size, channels), dtype=np.uint8)
    sums = np.zeros((len(sources), 3), dtype=np.int64)
    for row, source in enumerate(sources):
        _make(source, recipe, row, resample, out[row])
        if recipe.factors is not None:
            sums[row] = colour.channel_sums(out[row])
    return Views(out, colour.maps(recipe.factors, sums, size * size) if recipe.factors is not None else None)


def examples(
    sources: list[Pixels],
    params: Augment,
    seed: int,
    indices: NDArray[np.int64],
    size: int,
    resample: Image.Resampling,
    epochs: int,
) -> Pixels:
    """What the first epochs show of N samples, colour applied, for people to look at: uint8 [N, epochs, S, S, C]."""
    made = [
        make_views(sources, params, seed, view_of(epoch, params), indices, size, resample) for epoch in range(epochs)
    ]
    return np.stack([colour.shown(views.pixels, views.colour) for views in made], axis=1)


@dataclass(frozen=True)
class _Recipe:
    """What happens to each of N samples; None: nothing of the kind."""

    seed: int
    view: int
    indices: NDArray[np.int64]
    boxes: Doubles | None
    turns: Doubles | None
    flips: NDArray[np.bool_]
    policy: policies.Chosen | None
    hues: NDArray[np.int64] | None
    erased: NDArray[np.int64] | None
    factors: Doubles | None


def _draw(
    params: Augment, sources: list[Pixels], seed: int, view: int, indices: NDArray[np.int64], size: int
) -> _Recipe:
    at = seed, view, indices
    widths = np.array([source.shape[1] for source in sources])
    heights = np.array([source.shape[0] for source in sources])
    turns = geometry.turns(params, *at)
    boxes = None
    if params.crop_scale is not None:
        boxes = geometry.crop_boxes(params, *at, widths, heights)
    elif turns is not None:
        boxes = np.stack([0 * widths, 0 * heights, widths, heights], axis=1).astype(np.float64)
    return _Recipe(
        *at,
        boxes,
        turns,
        geometry.flips(params, *at),
        policies.choose(params, *at, size),
        colour.hue_shifts(params, *at),
        erasing.rectangles(params, *at, size) if params.erase > 0 else None,
        colour.factors(params, *at),
    )


def _make(source: Pixels, recipe: _Recipe, row: int, resample: Image.Resampling, out: Pixels) -> None:
    """Write the view of one sample into `out` [S, S, C]."""
    pixels = source
    if recipe.boxes is not None and recipe.turns is not None:
        pixels = geometry.cut_turned(source, recipe.boxes[row], recipe.turns[row], len(out), resample)
    elif recipe.boxes is not None:
        pixels = geometry.cut(source, recipe.boxes[row], len(out), resample)
    geometry.write_flipped(pixels, recipe.flips[row], out)
    if recipe.policy is not None:
        out[...] = policies.apply(out, recipe.policy, row)
    if recipe.hues is not None:
        out[...] = colour.shift_hue(out, int(recipe.hues[row]))
    if recipe.erased is not None:
        erasing.erase(out, recipe.erased[row], recipe.seed, recipe.view, int(recipe.indices[row]))
