"""Views of pixels on a GPU as one kernel: crop, antialiased resizing and mirroring, straight from what is stored.

Each thread makes pixels of one view from the bytes of its own sample, whatever size that has: nothing is padded, and no
float image lies between. Needs Triton, which comes with torch on Linux.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from transfer_cli.data.store.device_crops import Cuts

_BLOCK = 256


def cut(
    rows: Tensor, places: Tensor, cuts: Cuts, size: int, channels: int, interpolation: str
) -> tuple[Tensor, Tensor]:
    """The boxes of some images at `size` pixels, as `crop_resize_batch` makes them: uint8 [B, channels, size, size].

    And the sums of their channels, int64 [B, channels]. `rows` int64 [B]: which of the N images that `places` and
    `cuts` tell of. `places` int64 [N, 3]: the address of each image, uint8 [h, w, channels] without gaps on the device,
    then h and w. To rounding equal: one level.
    """
    out = torch.empty(len(rows), size, size, channels, dtype=torch.uint8, device=places.device)
    sums = torch.zeros(len(rows), channels, dtype=torch.int64, device=places.device)
    # Red, green and blue at once: what they share is computed once.
    together = 3 if channels == 3 else 1
    blocks, groups = triton.cdiv(size * size, _BLOCK), channels // together
    drawn = cuts.boxes, cuts.limits, cuts.flips.view(torch.uint8)
    constants = {"TOGETHER": together, "CUBIC": interpolation == "bicubic", "BLOCK": _BLOCK}
    sizes = size, channels, groups, blocks
    _kernel[(len(rows) * groups * blocks,)](out, sums, rows, places, *drawn, *sizes, **constants)
    return out.permute(0, 3, 1, 2), sums


@triton.jit  # type: ignore[untyped-decorator]
def _kernel(  # type: ignore[no-untyped-def]
    out,
    sums,
    rows,
    places,
    boxes,
    limits,
    flips,
    size,
    channels,
    groups,
    blocks,
    TOGETHER: tl.constexpr,  # noqa: N803
    CUBIC: tl.constexpr,  # noqa: N803
    BLOCK: tl.constexpr,  # noqa: N803
):
    program = tl.program_id(0) // blocks
    sample, channel = (program // groups).to(tl.int64), (program % groups) * TOGETHER
    image = tl.load(rows + sample)
    pixel = (tl.program_id(0) % blocks) * BLOCK + tl.arange(0, BLOCK)
    asked = pixel < size * size
    # Threads beyond the last pixel make that one, so that none divides by nothing.
    place = tl.minimum(pixel, size * size - 1)
    x, y = place % size, place // size
    x = tl.where(tl.load(flips + 2 * image) != 0, size - 1 - x, x)
    y = tl.where(tl.load(flips + 2 * image + 1) != 0, size - 1 - y, y)
    middle_x, finer_x, first_x, end_x, most_x = _span(boxes + 4 * image, limits + 4 * image, x, size, CUBIC)
    middle_y, finer_y, first_y, end_y, most_y = _span(boxes + 4 * image + 1, limits + 4 * image + 1, y, size, CUBIC)
    source = tl.load(places + 3 * image).to(tl.pointer_type(tl.uint8))
    stride = tl.load(places + 3 * image + 2) * channels
    nothing = tl.full([BLOCK], 0.0, tl.float32)
    red, green, blue, shares = nothing, nothing, nothing, nothing
    for j in range(most_y):
        row = first_y + j
        share = tl.where(row < end_y, _weight((row + 0.5 - middle_y) * finer_y, CUBIC), 0.0)
        line = source + row.to(tl.int64) * stride + channel
        across_red, across_green, across_blue, weights = nothing, nothing, nothing, nothing
        for i in range(most_x):
            column = first_x + i
            weight = tl.where(column < end_x, _weight((column + 0.5 - middle_x) * finer_x, CUBIC), 0.0)
            seen = (weight != 0) & (share != 0)
            at = line + column * channels
            across_red += weight * tl.load(at, mask=seen, other=0).to(tl.float32)
            if TOGETHER == 3:
                across_green += weight * tl.load(at + 1, mask=seen, other=0).to(tl.float32)
                across_blue += weight * tl.load(at + 2, mask=seen, other=0).to(tl.float32)
            weights += weight
        red += share * _level(across_red / weights)
        if TOGETHER == 3:
            green += share * _level(across_green / weights)
            blue += share * _level(across_blue / weights)
        shares += share
    to = out + (sample * size * size + pixel) * channels + channel
    sums += sample * channels + channel
    _keep(to, sums, red / shares, asked)
    if TOGETHER == 3:
        _keep(to + 1, sums + 1, green / shares, asked)
        _keep(to + 2, sums + 2, blue / shares, asked)


@triton.jit
def _keep(to, sums, values, asked):  # type: ignore[no-untyped-def]
    """Levels of one channel, and their sum, in whole numbers: the same in any order."""
    level = _level(values)
    tl.store(to, level.to(tl.uint8), mask=asked)
    tl.atomic_add(sums, tl.reduce(tl.where(asked, level, 0.0).to(tl.int32), 0, _plus).to(tl.int64))


@triton.jit
def _plus(one, other):  # type: ignore[no-untyped-def]
    """`tl.sum` is not known to Triton's interpreter, which tests run."""
    return one + other


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
