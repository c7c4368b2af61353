"""Crops of images that are on a GPU already: crop, antialiased resizing and mirroring as two products of matrices."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


def _triangle(distances: Tensor) -> Tensor:
    return (1 - distances).clamp(min=0)


def _cubic(distances: Tensor) -> Tensor:
    """With a = -0.5: "Cubic Convolution Interpolation for Digital Image Processing" (Keys 1981)."""
    d = distances.clamp(max=2)
    return torch.where(d < 1, (1.5 * d - 2.5) * d * d + 1, ((2.5 - 0.5 * d) * d - 4) * d + 2)


FILTERS = {"bilinear": _triangle, "bicubic": _cubic}
"""The interpolations that a GPU knows: what a pixel gives to a sample, by their distance."""


class Cuts(NamedTuple):
    """How B views are cut from their images, all on one device."""

    boxes: Tensor
    """What is shown, float32 [B, 4]: left, top, right, bottom, in pixels, within the image."""
    limits: Tensor
    """What is looked at for it, int32 [B, 4]: whole pixels of the image."""
    flips: Tensor
    """Whether a view is mirrored left to right, and upside down, bool [B, 2]."""


def crop_resize_batch(images: Tensor, cuts: Cuts, size: int, interpolation: str) -> Tensor:
    """The box of each image at `size` pixels, antialiased: uint8 [B, C, size, size].

    `images` uint8 [B, C, H, W] (smaller ones padded at right and bottom), on the device of `cuts`; `interpolation` is
    one of `FILTERS`. Equal to what Pillow makes to one level, also with TF32 products, whose inputs have 11 bits.
    """
    left, top, right, bottom = cuts.boxes.unbind(1)
    limits, (across, down) = cuts.limits.unbind(1), cuts.flips[:, :, None, None].unbind(1)
    columns = resize_weights((left, right), (limits[0], limits[2]), images.shape[3], size, interpolation)
    rows = resize_weights((top, bottom), (limits[1], limits[3]), images.shape[2], size, interpolation)
    columns = torch.where(across, columns.flip(1), columns)
    rows = torch.where(down, rows.flip(1), rows)
    # Across first and to whole levels in between, as Pillow does: a cubic overshoots, and what it does is cut off.
    narrowed = _levels(images.to(torch.float32) @ columns[:, None].mT)
    return _levels(rows[:, None] @ narrowed).to(torch.uint8)


def resize_weights(
    edges: tuple[Tensor, Tensor], limits: tuple[Tensor, Tensor], length: int, size: int, interpolation: str
) -> Tensor:
    """What each of `length` pixels gives to each of `size` samples between `edges` [B]: [B, size, length].

    A triangle or a cubic, scaled to samples or to pixels, whichever are larger, over the pixels within `limits` [B];
    each sample's weights sum to one (Pillow's and torch's antialiasing).
    """
    start, stop, low, high = (edge[:, None, None] for edge in (*edges, *limits))
    scale = (stop - start) / size
    samples, pixels = (torch.arange(count, device=start.device) + 0.5 for count in (size, length))
    distances = (pixels - (start + samples[:, None] * scale)).abs() / scale.clamp(min=1)
    weights = FILTERS[interpolation](distances) * ((pixels > low) & (pixels < high))
    return weights / weights.sum(dim=2, keepdim=True)


def _levels(values: Tensor) -> Tensor:
    """To the nearest of 0..255, halves up, as Pillow and torch round on the host; in place."""
    return values.clamp_(0, 255).add_(0.5).floor_()
