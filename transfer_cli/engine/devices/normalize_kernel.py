"""Normalising pixels on a GPU as one kernel, in place of some twenty that would each read and write them all.

Every product, sum and quotient is rounded by itself, as `Normalize` promises. Needs Triton, which comes with torch on
Linux.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

_BLOCK = 1024


def normalized(pixels: Tensor, first: Tensor, second: Tensor, maps: Tensor | None = None) -> Tensor:
    """Uint8 pixels [B, C, H, W] as float32, channels last.

    (pixels / 255 - `first`) / `second`, both [C]; or, with `maps` [B, 3, 4] from RGB to normalised values, what these
    make of RGB pixels, clamped to between the two.
    """
    batch, channels, height, width = pixels.shape
    rows, count = pixels.permute(0, 2, 3, 1).contiguous(), channels * height * width
    out = torch.empty(rows.shape, device=pixels.device)
    blocks = triton.cdiv(count, _BLOCK)
    known = rows, None if maps is None else maps.contiguous(), first, second
    sizes = count, channels, blocks
    with torch.cuda.device_of(out):
        _kernel[(batch * blocks,)](out, *known, *sizes, COLOURED=maps is not None, BLOCK=_BLOCK, enable_fp_fusion=False)
    return out.permute(0, 3, 1, 2)


@triton.jit  # type: ignore[untyped-decorator]
def _kernel(  # type: ignore[no-untyped-def]
    out,
    pixels,
    maps,
    first,
    second,
    count,
    channels,
    blocks,
    COLOURED: tl.constexpr,  # noqa: N803
    BLOCK: tl.constexpr,  # noqa: N803
):
    sample = (tl.program_id(0) // blocks).to(tl.int64)
    number = (tl.program_id(0) % blocks) * BLOCK + tl.arange(0, BLOCK)
    asked, channel = number < count, number % channels
    place = sample * count + number
    one, other = tl.load(first + channel), tl.load(second + channel)
    if COLOURED:
        pixel, row = pixels + place - channel, maps + 4 * (sample * channels + channel)
        value = tl.load(pixel, mask=asked, other=0).to(tl.float32) * tl.load(row)
        value += tl.load(pixel + 1, mask=asked, other=0).to(tl.float32) * tl.load(row + 1)
        value += tl.load(pixel + 2, mask=asked, other=0).to(tl.float32) * tl.load(row + 2)
        value = tl.minimum(tl.maximum(value + tl.load(row + 3), one), other)
    else:
        level = tl.load(pixels + place, mask=asked, other=0).to(tl.float32)
        value = tl.div_rn(tl.div_rn(level, 255.0) - one, other)
    tl.store(out + place, value, mask=asked)
