"""Where a view is cut from its source, and the cutting: crop, flips, rotation and shear, in uint8 pixels.

What is random is drawn for a whole batch at once and only then applied, image by image. The cutting releases the GIL
and starts no threads of its own, so that callers can spread images over threads.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from transfer_cli.config.schema import Augment
from transfer_cli.data.views.random_numbers import uniforms
from transfer_cli.models.bands import Bands

Pixels = NDArray[np.uint8]
Doubles = NDArray[np.float64]

FILL = (128, 128, 128)
"""What rotation, shear and translation show beyond the image, as in AutoAugment's and RandAugment's own code."""

_CROP_TRIES = 10
# torch's uint8 kernels: a sixth of Pillow's time at 224 pixels, and within two levels of it.
_KERNELS = {Image.Resampling.BILINEAR: "bilinear", Image.Resampling.BICUBIC: "bicubic"}
# Crop edges go to whole pixels, as torchvision's do, unless a source pixel covers more than so many of the view.
_MOST_ENLARGED = 4


def crop_boxes(
    params: Augment, seed: int, view: int, indices: NDArray[np.int64], widths: NDArray[Any], heights: NDArray[Any]
) -> Doubles:
    """Random resized crops: left, top, right, bottom in source pixels, [N, 4].

    As torchvision draws them, after "Going Deeper with Convolutions" (Szegedy 2015, arXiv 1409.4842): ten tries of area
    and aspect ratio, the first that fits is taken; else the largest crop of an allowed ratio. Unlike torchvision's that
    one is not centred but anywhere, so that panoramas vary too. Edges are not rounded here.
    """
    assert params.crop_scale is not None
    draws = uniforms(seed, view, indices, 2 * _CROP_TRIES + 2, "crop")
    crop_w, crop_h, fits = first_fit(draws, params.crop_scale, params.crop_ratio, widths, heights)
    aspect = np.clip(widths / heights, *params.crop_ratio)
    crop_w = np.where(fits, crop_w, np.minimum(widths, heights * aspect))
    crop_h = np.where(fits, crop_h, np.minimum(heights, widths / aspect))
    left, top = draws[:, -2] * (widths - crop_w), draws[:, -1] * (heights - crop_h)
    right, bottom = np.minimum(left + crop_w, widths), np.minimum(top + crop_h, heights)
    return np.stack([left, top, right, bottom], axis=1)


def first_fit(
    draws: Doubles,
    scale: tuple[float, float],
    ratio: tuple[float, float],
    widths: NDArray[Any],
    heights: NDArray[Any],
) -> tuple[Doubles, Doubles, NDArray[np.bool_]]:
    """Widths and heights [N] of the first tried rectangle that fits, and whether there is one.

    `draws` holds ten uniform numbers for the area (uniform in `scale`), then ten for the aspect ratio (log-uniform).
    """
    logs = np.log(ratio)
    areas = (widths * heights)[:, None] * (scale[0] + (scale[1] - scale[0]) * draws[:, :_CROP_TRIES])
    aspects = np.exp(logs[0] + (logs[1] - logs[0]) * draws[:, _CROP_TRIES : 2 * _CROP_TRIES])
    tried_w, tried_h = np.sqrt(areas * aspects), np.sqrt(areas / aspects)
    fits = (tried_w <= widths[:, None]) & (tried_h <= heights[:, None])
    rows, first = np.arange(len(draws)), fits.argmax(axis=1)
    return tried_w[rows, first], tried_h[rows, first], fits.any(axis=1)


def flips(params: Augment, seed: int, view: int, indices: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which samples are mirrored left to right, and which top to bottom, in this view: [N, 2]."""
    across = uniforms(seed, view, indices, 1, "flip") < params.flip
    down = uniforms(seed, view, indices, 1, "vertical_flip") < params.vertical_flip
    return np.concatenate([across, down], axis=1)


def turns(params: Augment, seed: int, view: int, indices: NDArray[np.int64]) -> Doubles | None:
    """Rotation and shear in degrees, [N, 2], uniform to either side; None where the recipe has both off."""
    if params.rotate == params.shear == 0:
        return None
    draws = uniforms(seed, view, indices, 2, "turn")
    return np.array([params.rotate, params.shear]) * (2 * draws - 1)


def cut(source: Pixels, box: Doubles, size: int, resample: Image.Resampling) -> Pixels:
    """The `box` (left, top, right, bottom) of a source [h, w, C] at [size, size, C], antialiased."""
    if resample in _KERNELS and not _are_tiny(box, size):
        left, top, right, bottom = map(int, _whole(box))
        return resized(source[top:bottom, left:right], size, size, resample)
    return changed(source, lambda image: image.resize((size, size), resample, box=tuple(box.tolist())))


def edges(boxes: Doubles, size: int) -> Doubles:
    """The edges at which the kernels cut boxes [N, 4]: whole pixels unless a box is tiny, and at least one."""
    return np.where(_are_tiny(boxes, size)[:, None], boxes, _whole(boxes))


def limits(boxes: Doubles, size: int, widths: NDArray[Any], heights: NDArray[Any]) -> Doubles:
    """The whole pixels that a cut of boxes [N, 4] looks at, as a box; [N, 4].

    Filters reach beyond a tiny box, into the rest of an image of that width and height.
    """
    nothing = np.zeros_like(widths)
    images = np.stack([nothing, nothing, widths, heights], axis=1)
    return np.where(_are_tiny(boxes, size)[:, None], images, _whole(boxes))


def _whole(boxes: Doubles) -> Doubles:
    """Boxes [..., 4] with their edges at whole pixels, at least one wide."""
    low = np.rint(boxes[..., :2])
    return np.concatenate([low, np.maximum(np.rint(boxes[..., 2:]), low + 1)], axis=-1)


def _are_tiny(boxes: Doubles, size: int) -> NDArray[np.bool_]:
    """Whether whole pixels would be too coarse for boxes [..., 4]: [...]."""
    tiny: NDArray[np.bool_] = (boxes[..., 2:] - boxes[..., :2]).min(axis=-1) * _MOST_ENLARGED < size
    return tiny


def resized(pixels: Pixels, width: int, height: int, resample: Image.Resampling) -> Pixels:
    """`pixels` [h, w, C] at [height, width, C], antialiased."""
    if resample not in _KERNELS:
        return changed(pixels, lambda image: image.resize((width, height), resample))
    # A copy: torch would make one itself, with a thread pool, and warns of arrays that may not be written.
    image = torch.from_numpy(np.array(pixels))[None].permute(0, 3, 1, 2)
    out = torch.nn.functional.interpolate(image, (height, width), mode=_KERNELS[resample], antialias=True)
    result: Pixels = out[0].permute(1, 2, 0).contiguous().numpy()
    return result


def cut_turned(source: Pixels, box: Doubles, turn: Doubles, size: int, resample: Image.Resampling) -> Pixels:
    """`cut` of a box that is sheared and then rotated about its centre by `turn` (rotation, shear; degrees).

    The part of the source that the turned box needs is resized, antialiased, to the scale of the view; one bilinear
    transform at that scale then turns it.
    """
    lows, highs = box[:2], box[2:]
    centre, zoom = (lows + highs) / 2, size / (highs - lows)
    angle, slope = math.radians(turn[0]), math.tan(math.radians(turn[1]))
    rotation = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    matrix = rotation @ np.array([[1.0, slope], [0.0, 1.0]])
    reach = np.abs(matrix) @ (highs - lows) / 2
    limits = source.shape[1], source.shape[0]
    # One pixel more than needed: the filters look beyond their own place.
    start = np.clip(np.floor(centre - reach) - 1, 0, limits).astype(int)
    stop = np.clip(np.ceil(centre + reach) + 1, 0, limits).astype(int)
    part = np.maximum(np.rint((stop - start) * zoom), 1).astype(int)
    region = resized(source[start[1] : stop[1], start[0] : stop[0]], int(part[0]), int(part[1]), resample)
    scale = part / (stop - start)
    linear = scale[:, None] * matrix / zoom[None, :]
    offset = scale * (centre - start) - linear @ np.full(2, size / 2)
    data = (*linear[0], offset[0], *linear[1], offset[1])

    def turned(image: Image.Image) -> Image.Image:
        fill = FILL if image.mode == "RGB" else FILL[0]
        return image.transform((size, size), Image.Transform.AFFINE, data, Image.Resampling.BILINEAR, fillcolor=fill)

    return changed(region, turned)


def changed(pixels: Pixels, change: Callable[[Image.Image], Image.Image]) -> Pixels:
    """What Pillow makes of `pixels` [h, w, C]: of three at once, of others one by one, for none of them is an alpha."""
    if pixels.shape[2] == 3:
        return np.asarray(change(Image.fromarray(pixels)))
    return np.asarray(Bands.of(pixels).map(change))


def write_flipped(pixels: Pixels, flip: NDArray[np.bool_], out: Pixels) -> None:
    """Copy `pixels` into `out`, both [H, W, C], mirrored left to right and top to bottom as `flip` [2] says."""
    across, down = flip
    rows = pixels[::-1] if down else pixels
    if not across:
        out[...] = rows
        return
    for channel in range(pixels.shape[2]):  # by channel: a tenth of the time of copying pixels backwards
        out[..., channel] = rows[:, ::-1, channel]
