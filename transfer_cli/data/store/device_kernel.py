"""Views of pixels on a GPU as one kernel: crop, antialiased resizing and mirroring, straight from what is stored.

Each thread makes one number of one view from the bytes of its own sample, whatever size that has: nothing is padded,
and no float image lies between. Needs Triton, which comes with torch on Linux.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

_BLOCK = 512


def cut(sources: Sequence[Tensor], boxes: Tensor, flips: Tensor, size: int) -> Tensor:
    """The box of each image at `size` pixels, as `crop_resize_batch` makes it: uint8 [B, C, size, size].

    `sources` are uint8 [h, w, C] on one device, `boxes` float32 [B, 4] (left, top, right, bottom, in pixels, within the
    image), `flips` bool [B, 2], left to right and upside down; both on the host. To rounding equal: one level.
    """
    device, channels = sources[0].device, sources[0].shape[2]
    assert all(source.is_contiguous() for source in sources)
    places = torch.tensor([[source.data_ptr(), source.shape[1]] for source in sources]).to(device)
    out = torch.empty(len(sources), size, size, channels, dtype=torch.uint8, device=device)
    grid = (len(sources), triton.cdiv(size * size * channels, _BLOCK))
    drawn = boxes.float().to(device), flips.to(torch.int32).to(device)
    _kernel[grid](out, places, *drawn, size, channels, BLOCK=_BLOCK)
    return out.permute(0, 3, 1, 2)


@triton.jit  # type: ignore[untyped-decorator]
def _kernel(out, places, boxes, flips, size, channels, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def] # noqa: N803
    sample, number = tl.program_id(0), tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    asked = number < size * size * channels
    channel, x, y = number % channels, (number // channels) % size, number // (channels * size)
    x = tl.where(tl.load(flips + 2 * sample) != 0, size - 1 - x, x)
    y = tl.where(tl.load(flips + 2 * sample + 1) != 0, size - 1 - y, y)
    source = tl.load(places + 2 * sample).to(tl.pointer_type(tl.uint8))
    width = tl.load(places + 2 * sample + 1)
    left, top = tl.load(boxes + 4 * sample), tl.load(boxes + 4 * sample + 1)
    right, bottom = tl.load(boxes + 4 * sample + 2), tl.load(boxes + 4 * sample + 3)
    across, down = (right - left) / size, (bottom - top) / size
    # The triangle is as wide as two samples or two pixels, whichever is more.
    reach_x, reach_y = tl.maximum(across, 1.0), tl.maximum(down, 1.0)
    middle_x, middle_y = left + (x + 0.5) * across, top + (y + 0.5) * down
    first_x = tl.maximum(tl.floor(middle_x - reach_x), tl.floor(left))
    first_y = tl.maximum(tl.floor(middle_y - reach_y), tl.floor(top))
    total = tl.full([BLOCK], 0.0, tl.float32)
    weights = tl.full([BLOCK], 0.0, tl.float32)
    for j in range((2 * reach_y).to(tl.int32) + 2):
        row = first_y + j
        by_row = tl.maximum(1 - tl.abs(row + 0.5 - middle_y) / reach_y, 0.0)
        by_row = tl.where(row < tl.ceil(bottom), by_row, 0.0)
        for i in range((2 * reach_x).to(tl.int32) + 2):
            column = first_x + i
            weight = tl.maximum(1 - tl.abs(column + 0.5 - middle_x) / reach_x, 0.0) * by_row
            weight = tl.where(column < tl.ceil(right), weight, 0.0)
            place = (row.to(tl.int64) * width + column.to(tl.int64)) * channels + channel
            total += weight * tl.load(source + place, mask=asked & (weight > 0), other=0).to(tl.float32)
            weights += weight
    value = total / tl.where(asked, weights, 1.0)
    lower = tl.floor(value)
    # Halves go to the even level, as in torch.
    odd = lower - 2 * tl.floor(lower / 2) > 0.5
    level = lower + tl.where((value - lower > 0.5) | ((value - lower == 0.5) & odd), 1.0, 0.0)
    level = tl.minimum(tl.maximum(level, 0.0), 255.0)
    tl.store(out + sample.to(tl.int64) * size * size * channels + number, level.to(tl.uint8), mask=asked)
