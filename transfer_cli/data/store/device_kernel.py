"""Views of pixels on a GPU as one kernel: crop, antialiased resizing and mirroring, straight from what is stored.

Each thread makes one number of one view from the bytes of its own sample, whatever size that has: nothing is padded,
and no float image lies between. Needs Triton, which comes with torch on Linux.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from transfer_cli.data.store.device_crops import Cuts

_BLOCK = 512


def cut(places: Tensor, cuts: Cuts, size: int, channels: int, interpolation: str) -> Tensor:
    """The box of each image at `size` pixels, as `crop_resize_batch` makes it: uint8 [B, channels, size, size].

    `places` int64 [B, 3]: the address of each image, uint8 [h, w, channels] without gaps on the device, then h and w.
    To rounding equal: one level.
    """
    out = torch.empty(len(places), size, size, channels, dtype=torch.uint8, device=places.device)
    blocks = triton.cdiv(size * size * channels, _BLOCK)
    drawn, cubic = (cuts.boxes, cuts.limits, cuts.flips.view(torch.uint8)), interpolation == "bicubic"
    _kernel[(len(places) * blocks,)](out, places, *drawn, size, channels, blocks, CUBIC=cubic, BLOCK=_BLOCK)
    return out.permute(0, 3, 1, 2)


@triton.jit  # type: ignore[untyped-decorator]
def _kernel(  # type: ignore[no-untyped-def]
    out,
    places,
    boxes,
    limits,
    flips,
    size,
    channels,
    blocks,
    CUBIC: tl.constexpr,  # noqa: N803
    BLOCK: tl.constexpr,  # noqa: N803
):
    sample = tl.program_id(0) // blocks
    thread = (tl.program_id(0) % blocks) * BLOCK + tl.arange(0, BLOCK)
    # Threads beyond the last number make that one, so that none divides by nothing.
    number = tl.minimum(thread, size * size * channels - 1)
    channel, x, y = number % channels, (number // channels) % size, number // (channels * size)
    x = tl.where(tl.load(flips + 2 * sample) != 0, size - 1 - x, x)
    y = tl.where(tl.load(flips + 2 * sample + 1) != 0, size - 1 - y, y)
    middle_x, finer_x, first_x, end_x, most_x = _span(boxes + 4 * sample, limits + 4 * sample, x, size, CUBIC)
    middle_y, finer_y, first_y, end_y, most_y = _span(boxes + 4 * sample + 1, limits + 4 * sample + 1, y, size, CUBIC)
    source = tl.load(places + 3 * sample).to(tl.pointer_type(tl.uint8))
    stride = tl.load(places + 3 * sample + 2) * channels
    total = tl.full([BLOCK], 0.0, tl.float32)
    shares = tl.full([BLOCK], 0.0, tl.float32)
    for j in range(most_y):
        row = first_y + j
        share = tl.where(row < end_y, _weight((row + 0.5 - middle_y) * finer_y, CUBIC), 0.0)
        line = source + row.to(tl.int64) * stride + channel
        across = tl.full([BLOCK], 0.0, tl.float32)
        weights = tl.full([BLOCK], 0.0, tl.float32)
        for i in range(most_x):
            column = first_x + i
            weight = tl.where(column < end_x, _weight((column + 0.5 - middle_x) * finer_x, CUBIC), 0.0)
            seen = (weight != 0) & (share != 0)
            across += weight * tl.load(line + column * channels, mask=seen, other=0).to(tl.float32)
            weights += weight
        total += share * _level(across / weights)
        shares += share
    level = _level(total / shares).to(tl.uint8)
    place = sample.to(tl.int64) * size * size * channels + thread
    tl.store(out + place, level, mask=thread < size * size * channels)


@triton.jit  # type: ignore[untyped-decorator]
def _span(box, limit, index, size, CUBIC: tl.constexpr):  # type: ignore[no-untyped-def] # noqa: N803
    """Which pixels samples along one axis look at.

    Their middles, what distances from there are multiplied by, the first pixels, the end of all, and the most of one.
    """
    start, scale = tl.load(box), (tl.load(box + 2) - tl.load(box)) / size
    unit = tl.maximum(scale, 1.0)
    reach = 2 * unit if CUBIC else unit
    middle = start + (index + 0.5) * scale
    first = tl.ceil(middle - reach - 0.5).to(tl.int32)
    most = (2 * reach).to(tl.int32) + 1
    return middle, 1 / unit, tl.maximum(first, tl.load(limit)), tl.load(limit + 2), most


@triton.jit  # type: ignore[untyped-decorator]
def _weight(distance, CUBIC: tl.constexpr):  # type: ignore[no-untyped-def] # noqa: N803
    d = tl.abs(distance)
    if CUBIC:
        weight = tl.where(d < 1, (1.5 * d - 2.5) * d * d + 1, ((2.5 - 0.5 * d) * d - 4) * d + 2)
        weight = tl.where(d < 2, weight, 0.0)
    else:
        weight = tl.maximum(1 - d, 0.0)
    return weight


@triton.jit
def _level(value):  # type: ignore[no-untyped-def]
    """To the nearest of 0..255, halves up."""
    return tl.floor(tl.minimum(tl.maximum(value, 0.0), 255.0) + 0.5)
