"""Colour changes of a view. The affine ones become one map a sample, which the device applies with the normalisation.

Brightness, contrast and saturation are each affine in RGB, and so is their product. Intermediate results are not
rounded and not clipped to 0..255, unlike torchvision's, so the order of the three does not matter; the end result is
clipped.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from transfer_cli.config.schema import Augment
from transfer_cli.data.views.geometry import Doubles, Pixels
from transfer_cli.data.views.random_numbers import uniforms

_LUMA = np.array([299, 587, 114])
"""Grey in thousandths of red, green, blue (ITU-R BT.601, as in Pillow and torchvision)."""


def factors(params: Augment, seed: int, view: int, indices: NDArray[np.int64]) -> Doubles | None:
    """Brightness, contrast and saturation factors, [N, 3]; None where the recipe has all colour changes off.

    A sample that goes grey has saturation 0.
    """
    strengths = np.array([params.brightness, params.contrast, params.saturation])
    if not strengths.any() and params.grayscale == 0:
        return None
    drawn = 1 + strengths * (2 * uniforms(seed, view, indices, 3, "colour") - 1)
    grey = uniforms(seed, view, indices, 1, "grayscale")[:, 0] < params.grayscale
    drawn[grey, 2] = 0
    return drawn


def hue_shifts(params: Augment, seed: int, view: int, indices: NDArray[np.int64]) -> NDArray[np.int64] | None:
    """Turns of the hue in 255ths of the colour circle, [N], uniform to either side; None where the recipe has none."""
    if params.hue == 0:
        return None
    draws = uniforms(seed, view, indices, 1, "hue")[:, 0]
    return np.trunc(255 * params.hue * (2 * draws - 1)).astype(np.int64)


def channel_sums(pixels: Pixels) -> NDArray[np.int64]:
    """Exact sums of red, green and blue of an image [H, W, 3] of up to 4096 x 4096 pixels: [3]."""
    height, width, _ = pixels.shape
    # Down the columns first: summing over the short last axis takes fifty times as long.
    columns = pixels.reshape(height, width * 3).sum(axis=0, dtype=np.uint32)
    sums: NDArray[np.int64] = columns.reshape(width, 3).sum(axis=0, dtype=np.int64)
    return sums


def maps(factors: Doubles, sums: NDArray[np.int64], pixels: int) -> NDArray[np.float32]:
    """The affine map of each sample on RGB values of 0..255: [N, 3, 4], the last column is what is added.

    `factors` [N, 3] as from `factors`, `sums` [N, 3] of the channels of the `pixels` pixels of each view. With g the
    mean grey: brightness b x, contrast c x + (1 - c) g, saturation s x + (1 - s) grey(x).
    """
    brightness, contrast, saturation = factors.T[:, :, None, None]
    grey = (sums * _LUMA).sum(axis=1)[:, None, None] / (1000 * pixels)
    to_grey = np.broadcast_to(_LUMA / 1000, (3, 3))
    linear = brightness * contrast * (saturation * np.eye(3) + (1 - saturation) * to_grey)
    offset = np.broadcast_to((1 - contrast) * brightness * grey, (len(factors), 3, 1))
    return np.concatenate([linear, offset], axis=2).astype(np.float32)


def luma_there(device: torch.device) -> Tensor:
    """What `maps_there` weighs channels by, float64 [3]; the host waits until it is there."""
    return torch.tensor(_LUMA / 1000, device=device)


def maps_there(factors: Tensor, sums: Tensor, pixels: int, luma: Tensor) -> Tensor:
    """`maps` on a device, which the host does not wait for: `factors` float64 [N, 3], `sums` int64 [N, 3]."""
    brightness, contrast, saturation = factors.unbind(1)
    grey = (sums * luma).sum(dim=1) / pixels
    both = brightness * contrast
    kept = both * saturation
    linear = (both - kept)[:, None, None] * luma.expand(3, 3)
    linear.diagonal(dim1=1, dim2=2).add_(kept[:, None])
    offset = ((1 - contrast) * brightness * grey)[:, None, None].expand(-1, 3, 1)
    return torch.cat([linear, offset], dim=2).float()


def shift_hue(pixels: Pixels, shift: int) -> Pixels:
    """`pixels` [H, W, 3] with the hue turned by `shift` 255ths of the circle: torchvision's on Pillow images."""
    hue, saturation, value = Image.fromarray(pixels).convert("HSV").split()
    turned = hue.point([(level + shift) % 256 for level in range(256)])
    return np.asarray(Image.merge("HSV", (turned, saturation, value)).convert("RGB"))


def shown(pixels: Pixels, colour: NDArray[np.float32] | None) -> Pixels:
    """Views [B, S, S, 3] with their colour maps [B, 3, 4] applied: uint8 [B, S, S, 3], for people to look at."""
    if colour is None:
        return pixels
    values = np.einsum("bhwk,bck->bhwc", pixels.astype(np.float32), colour[:, :, :3]) + colour[:, None, None, :, 3]
    result: Pixels = np.rint(np.clip(values, 0, 255)).astype(np.uint8)
    return result
