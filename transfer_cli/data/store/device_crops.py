"""Crops of images that are on a GPU already: crop, antialiased resizing and mirroring as two products of matrices."""

from __future__ import annotations

import torch
from torch import Tensor


def crop_resize_batch(images: Tensor, boxes: Tensor, size: int, flip: Tensor | None = None) -> Tensor:
    """The box of each image at `size` pixels, bilinear with antialiasing: uint8 [B, C, size, size].

    `images` uint8 [B, C, H, W] (smaller ones padded at right and bottom), `boxes` float32 [B, 4] (left, top, right,
    bottom, in pixels, within the image), `flip` bool [B] mirrors left to right; all on one device. For boxes of whole
    pixels equal to cropping and resizing with Pillow to one level; with TF32 products, whose inputs have 11 bits, too.
    """
    left, top, right, bottom = boxes.to(torch.float32).unbind(1)
    rows = resize_weights(top, bottom, images.shape[2], size)
    columns = resize_weights(left, right, images.shape[3], size)
    if flip is not None:
        columns = torch.where(flip[:, None, None], columns.flip(1), columns)
    narrowed = rows[:, None] @ images.to(torch.float32)
    return (narrowed @ columns[:, None].mT).round_().clamp_(0, 255).to(torch.uint8)


def resize_weights(start: Tensor, stop: Tensor, length: int, size: int) -> Tensor:
    """What each of `length` pixels gives to each of `size` samples of [start, stop], both [B]: [B, size, length].

    A triangle as wide as two samples or two pixels, whichever is more, over the pixels that the interval touches;
    each sample's weights sum to one (Pillow's and torch's antialiasing).
    """
    scale = ((stop - start) / size)[:, None, None]
    samples, pixels = (torch.arange(count, device=start.device) + 0.5 for count in (size, length))
    distance = (pixels - (start[:, None, None] + samples[:, None] * scale)).abs() / scale.clamp(min=1)
    inside = (pixels > start.floor()[:, None, None]) & (pixels < stop.ceil()[:, None, None])
    weights = (1 - distance).clamp(min=0) * inside
    return weights / weights.sum(dim=2, keepdim=True)
