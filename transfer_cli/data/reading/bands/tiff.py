"""TIFF files of more than what Pillow reads: bands of any number, kind and layout, by the package tifffile."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from transfer_cli.data.reading.bands.counted import Asked
from transfer_cli.data.reading.decode import DecodeError
from transfer_cli.errors import first_line, one_line
from transfer_cli.extras import need

_ORIENTATION, _SAMPLES, _BITS, _PALETTE = 274, 277, 258, 3
_PHOTOMETRIC = 262
_AS_THEY_ARE = {"LA": "LA", "RGB": "RGB", "RGBA": "RGBA"}
"""Of what has several channels of 8 bits, in Pillow's terms: the mode, and how the file must hold it."""


def pillow_reads(image: Image.Image, layout: str, channels: int) -> bool:
    """Whether Pillow gives all that a TIFF file, opened, holds: a grey page, or two to four channels of 8 bits."""
    header: Mapping[int, Any] = getattr(image, "tag_v2", {})
    samples, frames = int(header.get(_SAMPLES, 1)), int(getattr(image, "n_frames", 1))
    if samples == 1:
        # A palette is three channels; grey pages may be the channels of one picture.
        return header.get(_PHOTOMETRIC) == _PALETTE or not (frames > 1 and channels > 1)
    bits = header.get(_BITS, (1,))
    return samples == len(image.getbands()) and set(bits) == {8} and _AS_THEY_ARE.get(image.mode) == layout


def read(data: bytes, asked: Asked) -> tuple[NDArray[Any], Mapping[int, Any], int]:
    """Numbers [H, W, C], the tags of the first page, and how the picture was turned when stored.

    Bands are those of the first page, or grey pages of one size. Raises DecodeError for a file of another number of
    channels, UserError where tifffile is not installed.
    """
    tifffile = need("tifffile", "tiff", f"{asked.shown}: a TIFF file of this kind")
    try:
        with tifffile.TiffFile(io.BytesIO(data)) as file:
            page = file.pages[0]
            tags = {tag.code: tag.value for tag in page.tags}
            values = _page(page, asked) if page.samplesperpixel > 1 else _pages(file, page, asked)
    except DecodeError:
        raise
    except Exception as error:  # tifffile and the codecs raise a dozen types on damaged input
        reason = one_line(first_line(error))
        hint = "; pip install 'transfer-run[tiff]' brings it" if "imagecodecs" in reason else ""
        raise asked.fail(f"cannot be decoded ({reason}{hint})") from error
    orientation = tags.get(_ORIENTATION)
    return values, tags, int(orientation) if isinstance(orientation, int) else 1


def _page(page: Any, asked: Asked) -> NDArray[Any]:
    """The bands of a page, whether they lie pixel by pixel or one behind the other."""
    asked.check_count(int(page.samplesperpixel))
    asked.check_size(int(page.imagewidth), int(page.imagelength), int(page.samplesperpixel))
    values = page.asarray()
    if values.ndim != 3:
        raise asked.fail("a volume of several slices, where one picture is expected")
    return np.moveaxis(values, 0, 2) if page.axes.startswith("S") else values


def _pages(file: Any, page: Any, asked: Asked) -> NDArray[Any]:
    """Grey pages as the channels of one picture; one channel is the first page."""
    if asked.channels == 1 or len(file.pages) == 1:
        asked.check_count(1)
        asked.check_size(int(page.imagewidth), int(page.imagelength), 1)
        return asked.channels_last(page.asarray())
    series = file.series[0]
    if math.prod(series.shape) == page.imagewidth * page.imagelength:
        raise asked.miscounted(f"{len(file.pages)} pages of several sizes or kinds")
    if series.ndim != 3 or asked.channels not in (series.shape[0], series.shape[2]):
        raise asked.miscounted(f"{len(file.pages)} grey pages of {page.imagewidth} x {page.imagelength} pixels")
    asked.check_size(int(page.imagewidth), int(page.imagelength), max(len(file.pages), asked.channels))
    return asked.channels_last(series.asarray())
