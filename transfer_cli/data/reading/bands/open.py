"""A picture as dataset.channels asks for it: RGB where that says nothing, else all its channels as they are."""

from __future__ import annotations

import io
import os
import stat
import warnings
from collections.abc import Mapping
from importlib import metadata
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from transfer_cli.data.reading import kinds, large
from transfer_cli.data.reading.bands import arrays, dicom, tiff
from transfer_cli.data.reading.bands.counted import Asked
from transfer_cli.data.reading.colours import raw_layout
from transfer_cli.data.reading.decode import (
    TRANSPOSE,
    DecodeError,
    Remark,
    allow,
    no_remark,
    open_image,
    orientation,
    reason_of,
)
from transfer_cli.data.reading.levels import levels_of
from transfer_cli.models.bands import Bands, Picture

_MODES = {"1": 1, "L": 1, "F": 1, "LA": 2, "La": 2, "PA": 2, "RGBA": 4, "RGBa": 4}
"""Channels of Pillow's modes; I and its kin have one, all others are colours and become RGB."""
_FULL = {2: "LA", 4: "RGBA"}
_PACKAGES = ("tifffile", "imagecodecs", "pydicom")


def open_picture(
    source: str | os.PathLike[str] | bytes,
    *,
    channels: int | None,
    name: str = "",
    max_pixels: int | None = None,
    remark: Remark = no_remark,
) -> Picture:
    """A file, or a file's bytes, as an RGB image (`channels` None) or with so many channels as it has them.

    With `channels` alpha is one of them, and 8 bits of a channel are left of what has more, by the rules for greys.
    Raises DecodeError where that is not what the file holds, UserError where a package is missing that reads it.
    """
    if not isinstance(source, bytes) and "\0" in os.fspath(source):
        raise DecodeError(name or os.fspath(source), "not a path")
    if channels is None:
        return open_image(source, name=name, max_pixels=max_pixels, remark=remark)
    asked = Asked(name or ("<bytes>" if isinstance(source, bytes) else os.fspath(source)), channels, max_pixels, remark)
    data = source if isinstance(source, bytes) else _content(source, asked)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # readers' remarks on metadata would land in the user's terminal
        return _opened(data, asked)


def taken_from(image: Picture, channels: int, name: str) -> Bands:
    """An RGB image of a set in memory with so many channels: grey ones have one. Raises DecodeError for others."""
    asked = Asked(name, channels, None, no_remark)
    pixels = np.asarray(image)
    if channels == 1 and (pixels == pixels[..., :1]).all():
        return Bands.of(pixels[..., :1])
    asked.check_count(pixels.shape[2])
    return Bands.of(pixels)


def readers() -> dict[str, str]:
    """The packages besides Pillow that read files, where they are installed: without one, files are refused."""
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def _opened(data: bytes, asked: Asked) -> Bands:
    if not data:
        raise asked.fail("cannot be decoded (the file is empty)")
    if data.startswith(kinds.NUMPY):
        return _bands(_levels(arrays.read(data, asked), {}, asked), 1)
    if data.startswith(arrays.ZIP):
        raise asked.fail("a zip archive, such as .npz, holds several arrays; save the picture as .npy")
    if kinds.is_dicom_head(data):
        return Bands.of(dicom.read(data, asked))
    if data.startswith(kinds.TIFF) and not _pillow_reads(data, asked):
        values, tags, turned = tiff.read(data, asked)
        return _bands(_levels(values, tags, asked), turned)
    return _by_pillow(data, asked)


def _pillow_reads(data: bytes, asked: Asked) -> bool:
    try:
        with Image.open(io.BytesIO(data), formats=["TIFF"]) as image:
            return tiff.pillow_reads(image, raw_layout(image), asked.channels)
    except Exception:  # whatever it stumbles over, the other reader may not
        return False


def _by_pillow(data: bytes, asked: Asked) -> Bands:
    """What Pillow reads: grey and colours are those of RGB images, alpha is kept."""
    count = asked.channels
    allow(asked.max_pixels)
    try:
        with Image.open(io.BytesIO(data), formats=kinds.formats()) as image:
            count = _count(image)
            asked.check_count(count)
            asked.check_size(*image.size, count)
            if count in _FULL:
                return _bands(np.asarray(image.convert(_FULL[count])), orientation(image))
    except DecodeError:
        raise
    except Exception as error:
        if count in _FULL:
            raise asked.fail(f"cannot be decoded ({reason_of(data, error)})") from error
    # What is wrong with others is said there.
    rgb = open_image(data, name=asked.shown, max_pixels=asked.max_pixels, remark=asked.remark)
    return Bands(rgb.split()[: asked.channels])


def _count(image: Image.Image) -> int:
    """How many channels an image has that Pillow has opened."""
    if image.mode == "P":
        return 4 if image.has_transparency_data else 3
    return 1 if image.mode.startswith("I") else _MODES.get(image.mode, 3)


def _levels(values: NDArray[Any], tags: Mapping[int, Any], asked: Asked) -> NDArray[np.uint8]:
    found, said = levels_of(values, tags)
    if said:
        asked.remark(said)
    return found


def _bands(pixels: NDArray[np.uint8], turned: int) -> Bands:
    """The picture upright, and reduced where it is larger than what is handled whole."""
    bands, upright = Bands.of(pixels), TRANSPOSE.get(turned)
    factor = large.factor_of(*bands.size)
    if factor > 1:
        bands = bands.map(lambda plane: plane.reduce(factor))
    return bands if upright is None else bands.map(lambda plane: plane.transpose(upright))


def _content(file: str | os.PathLike[str], asked: Asked) -> bytes:
    """The bytes of a regular file."""
    try:
        if not stat.S_ISREG(os.stat(file).st_mode):
            raise asked.fail("not a regular file")  # a pipe would be waited for, for ever
        with open(file, "rb") as opened:
            return opened.read()
    except OSError as error:
        raise asked.fail(f"cannot be decoded ({(error.strerror or str(error)).lower()})") from error
