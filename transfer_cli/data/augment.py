"""Training views: crop, flip and colour of a sample as pure functions of (seed, view, index).

A decoded image first becomes its source pixels (aspect kept, moderate size: what a pixel store holds), and a view is
cut from those. Parameters and pixels are apart, so that the pixel work can move to another device unchanged.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from transfer_cli.config import Augment
from transfer_cli.data import views

_CROP_TRIES = 10

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]


def view_of(epoch: int, params: Augment) -> int:
    """The view that an epoch shows."""
    return epoch if params.views is None else epoch % params.views


def train_source(image: Image.Image, crop_pixels: int, resample: Image.Resampling, factor: float) -> Pixels:
    """`image` with its short side at `factor` * crop_pixels, never enlarged: uint8 [H, W, 3]."""
    scale = factor * crop_pixels / min(image.size)
    if scale < 1:
        width, height = (max(1, round(side * scale)) for side in image.size)
        image = image.resize((width, height), resample)
    return np.array(image)


def crop_boxes(
    params: Augment, seed: int, view: int, indices: NDArray[np.int64], widths: NDArray[Any], heights: NDArray[Any]
) -> NDArray[np.float64]:
    """Random resized crops (Szegedy 2015, as in torchvision): left, top, right, bottom in source pixels, [N, 4].

    Ten tries of area and aspect ratio, the first that fits is taken; else the largest centred crop of an allowed
    ratio. Edges are not rounded: small sources keep all their positions.
    """
    assert params.crop_scale is not None
    (low, high), ratios = params.crop_scale, np.log(params.crop_ratio)
    draws = views.uniforms(seed, view, indices, 2 * _CROP_TRIES + 2, "crop")
    areas = (widths * heights)[:, None] * (low + (high - low) * draws[:, :_CROP_TRIES])
    aspects = np.exp(ratios[0] + (ratios[1] - ratios[0]) * draws[:, _CROP_TRIES : 2 * _CROP_TRIES])
    tried_w, tried_h = np.sqrt(areas * aspects), np.sqrt(areas / aspects)
    fits = (tried_w <= widths[:, None]) & (tried_h <= heights[:, None])
    first, rows = fits.argmax(axis=1), np.arange(len(indices))
    aspect = np.clip(widths / heights, *params.crop_ratio)
    crop_w = np.where(fits.any(axis=1), tried_w[rows, first], np.minimum(widths, heights * aspect))
    crop_h = np.where(fits.any(axis=1), tried_h[rows, first], np.minimum(heights, widths / aspect))
    at = np.where(fits.any(axis=1)[:, None], draws[:, -2:], 0.5)
    left, top = at[:, 0] * (widths - crop_w), at[:, 1] * (heights - crop_h)
    right, bottom = np.minimum(left + crop_w, widths), np.minimum(top + crop_h, heights)
    return np.stack([left, top, right, bottom], axis=1)


def flips(params: Augment, seed: int, view: int, indices: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which samples are mirrored in this view, [N]."""
    return views.uniforms(seed, view, indices, 1, "flip")[:, 0] < params.flip


def colour_factors(params: Augment, seed: int, view: int, indices: NDArray[np.int64]) -> Floats | None:
    """Brightness, contrast and saturation factors, [N, 3]; None where the recipe has all three off."""
    strengths = np.array([params.brightness, params.contrast, params.saturation])
    if not strengths.any():
        return None
    draws = views.uniforms(seed, view, indices, 3, "colour")
    return (1 + strengths * (2 * draws - 1)).astype(np.float32)


def jitter(pixels: Pixels, factors: Floats) -> Pixels:
    """`pixels` [H, W, 3] with brightness, contrast and saturation scaled by `factors` [3], in this order."""
    brightness, contrast, saturation = factors
    values = np.clip(pixels * brightness, 0, 255)
    grey = np.float32(_luma(values).mean(dtype=np.float64))
    values = np.clip((values - grey) * contrast + grey, 0, 255)
    luma = _luma(values)[..., None]
    out: Pixels = np.rint(np.clip((values - luma) * saturation + luma, 0, 255)).astype(np.uint8)
    return out


def _luma(pixels: Floats) -> Floats:
    """The grey [H, W] of RGB pixels [H, W, 3] (ITU-R BT.601). Elementwise: a dot product may round by thread count."""
    grey: Floats = pixels[..., 0] * np.float32(0.299) + pixels[..., 1] * np.float32(0.587)
    grey += pixels[..., 2] * np.float32(0.114)
    return grey


def make_views(
    sources: list[Pixels],
    params: Augment,
    seed: int,
    view: int,
    indices: NDArray[np.int64],
    size: int,
    resample: Image.Resampling,
) -> Pixels:
    """The views of a batch of source pixels, each [h, w, 3]: uint8 [B, size, size, 3]."""
    out = np.empty((len(sources), size, size, 3), dtype=np.uint8)
    widths = np.array([source.shape[1] for source in sources])
    heights = np.array([source.shape[0] for source in sources])
    boxes = crop_boxes(params, seed, view, indices, widths, heights) if params.crop_scale is not None else None
    mirrored = flips(params, seed, view, indices)
    factors = colour_factors(params, seed, view, indices)
    for row, source in enumerate(sources):
        pixels = source
        if boxes is not None:
            pixels = np.asarray(Image.fromarray(source).resize((size, size), resample, box=tuple(boxes[row])))
        if factors is not None:
            pixels = jitter(pixels, factors[row])
        out[row] = pixels[:, ::-1] if mirrored[row] else pixels
    return out
