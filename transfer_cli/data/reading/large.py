"""Images of more pixels than are handled whole: brought to RGB and reduced strip by strip, one image at a time."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator

from PIL import Image, ImageFile

from transfer_cli.models.pixels import MAX_PIXELS

ONE_AT_A_TIME = threading.Lock()
"""Each takes up to 4 bytes a pixel while it is read; of as many as there are threads, memory would run out."""
_STRIP_PIXELS = 2**24


def factor_of(width: int, height: int) -> int:
    """By what both sides are divided, so that no more than MAX_PIXELS are left; 1 for all but large images."""
    return max(1, math.ceil(math.sqrt(width * height / MAX_PIXELS)))


def draft(image: ImageFile.ImageFile) -> None:
    """Have a JPEG decoded at a fraction of its size, which never takes the memory of the whole."""
    factor = factor_of(*image.size)
    if factor > 1:
        image.draft(None, (image.width // factor, image.height // factor))


def strips(image: Image.Image, factor: int) -> Iterator[Image.Image]:
    """Parts of `image` from top to bottom, of rows that can be reduced by `factor`; all of it for a factor of 1."""
    if factor == 1:
        yield image
        return
    rows = factor * max(1, _STRIP_PIXELS // (image.width * factor))
    for top in range(0, image.height, rows):
        yield image.crop((0, top, image.width, min(top + rows, image.height)))


def reduced(image: Image.Image, factor: int, to_rgb: Callable[[Image.Image], Image.Image]) -> Image.Image:
    """The image in RGB, `factor` times smaller: the mean of as many pixels each way."""
    if factor == 1:
        return to_rgb(image)
    out = Image.new("RGB", (-(-image.width // factor), -(-image.height // factor)))
    top = 0
    for strip in strips(image, factor):
        part = to_rgb(strip).reduce(factor)
        out.paste(part, (0, top))
        top += part.height
    return out
