"""Values of more than 8 bits to levels 0 to 255: from where to where they go is in the file, else in the pixels."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

USED_BITS = "16-bit greys of which the highest bits are all 0 are shown as the 8, 10 or 12 bits that they are"
DARK = "16-bit levels below 4,096 are nearly black as they are; save them with their full range, or as 8 bits"
OWN_RANGE = (
    "greys beyond the usual range, and the header names no other: each image goes from its darkest to its brightest"
)
LOW = (
    "values of 16 bits that use less than half of their range stay dark, and pictures of the same set with fewer bits "
    "are read by theirs: scale all of them to 8 bits alike where their brightness matters"
)
NOT_FINITE = "values that are no numbers are read as black, infinite ones as the ends of the range"

# Of a TIFF file: BitsPerSample, PhotometricInterpretation, SampleFormat, Min- and MaxSampleValue, and these once more
# for signed and float samples.
_BITS, _PHOTOMETRIC, _FORMAT = 258, 262, 339
_UNSIGNED_RANGE, _RANGE = (280, 281), (340, 341)
_WHITE_IS_ZERO = 0
_NARROW = (255, 1023, 4095)
"""What 8, 10 and 12 bits reach; above, a dark picture of 16 bits is as likely."""
_DEEP = 65535
_OVERSHOOT = 0.05
"""What resizing and sharpening leave beyond 0 and 1 is clipped."""
_FLOAT_BYTES = (16.0, 255.0)
"""Floats that reach more than the first and at most the second are levels of 8 bits."""


@dataclass(frozen=True)
class Scale:
    """Which values are black and white."""

    black: float
    white: float
    inverted: bool = False
    """Whether small values are bright."""
    unsigned: bool = False
    """Whether Pillow's signed whole numbers stand for unsigned ones."""
    remark: str = ""
    """What to say of it where the file did not."""


def is_deep(image: Image.Image) -> bool:
    """Whether an image holds whole numbers of more than 8 bits, or floats."""
    return image.mode == "F" or image.mode.startswith("I")


def scale_of(image: Image.Image, parts: Iterable[Image.Image]) -> Scale:
    """The scale of a deep image, loaded, that `parts` make up."""
    header = getattr(image, "tag_v2", None)
    if header is None:
        # Pillow has brought other formats to 16 bits, of which PNG always means the full range.
        dark = image.mode != "F" and is_dark(_extremes(parts, False)[1])
        return Scale(0, 1) if image.mode == "F" else Scale(0, _DEEP, remark=DARK if dark else "")
    unsigned = image.mode == "I" and _number(header, _FORMAT) != 2
    scale = _scale_by(header, lambda: _extremes(parts, unsigned), floats=image.mode == "F")
    return replace(scale, unsigned=unsigned)


def _scale_by(header: Any, extremes: Callable[[], tuple[float, float]], *, floats: bool) -> Scale:
    """The scale that the tags of a TIFF state, else that of the values, whose `extremes` are looked at then."""
    inverted = header.get(_PHOTOMETRIC) == _WHITE_IS_ZERO
    signed, bits = _number(header, _FORMAT) == 2, _number(header, _BITS) or 16
    stated = _stated(header, _RANGE)
    if stated is None and not floats and bits < 16:
        stated = 0, 2**bits - 1
    top = _number(header, _UNSIGNED_RANGE[1])
    if stated is None and not floats and bits == 16 and not signed and top and top < _DEEP:
        stated = 0, next((white for white in (*_NARROW, 16383) if top <= white), _DEEP)
    if stated is not None:
        return Scale(*stated, inverted)
    black, white, remark = _measured(*extremes(), floats=floats)
    return Scale(black, white, inverted, remark=remark)


def holds_signed_bytes(image: Image.Image) -> bool:
    """Whether an image is a TIFF of signed bytes."""
    header = getattr(image, "tag_v2", None)
    known = header is not None and image.mode in ("L", "RGB")
    return known and _number(header, _FORMAT) == 2 and _number(header, _BITS) == 8


def is_dark(most: float) -> bool:
    """Whether 16-bit values that reach so far are likely to be 12-bit ones."""
    return 0 < most <= _NARROW[-1]


def levels(image: Image.Image, scale: Scale) -> NDArray[Any]:
    """Levels 0 to 255 of an image or a part of it, [H, W]."""
    return _levels(_values(image, scale.unsigned), scale)


def levels_of(values: NDArray[Any], header: Mapping[int, Any]) -> tuple[NDArray[np.uint8], str]:
    """Levels 0 to 255 of numbers of any kind and shape, by the rules for greys, and what to say of it.

    `header`: tags of a TIFF by their number, or none. Numbers of 8 bits are levels already; the scale of all others
    is that of the whole array, so that channels keep their proportion.
    """
    if values.dtype == np.bool_:
        return values.astype(np.uint8) * np.uint8(255), ""
    if values.dtype.itemsize == 1:
        signed = values.dtype.kind == "i"
        found = values.view(np.uint8) ^ np.uint8(128) if signed else values
        return 255 - found if header.get(_PHOTOMETRIC) == _WHITE_IS_ZERO else found, ""
    floats = values.dtype.kind == "f" or values.dtype == np.uint64
    wide = values.astype(np.float64 if floats else np.int64)
    extremes = cache(lambda: _reach([wide]))
    scale = _scale_by(header, extremes, floats=floats)
    said = [scale.remark] if scale.remark else []
    if not floats and (scale.black, scale.white) == (0, _DEEP):
        least, most = extremes()
        if least >= 0 and 0 < most <= _DEEP / 2:
            said.append(LOW)
    if floats and not np.isfinite(wide).all():
        said.append(NOT_FINITE)
    return _levels(wide, scale).astype(np.uint8), "; ".join(said)


def _levels(values: NDArray[Any], scale: Scale) -> NDArray[Any]:
    """Levels of int64 or float64 values."""
    span = scale.white - scale.black
    if values.dtype.kind == "f":
        shares = np.nan_to_num((values - scale.black) / span, nan=0, posinf=1, neginf=0)
        found = np.rint(shares * 255)
    elif scale.black == 0 and scale.white + 1 in (256, 1024, 4096, 16384, 65536):
        found = values >> (int(scale.white).bit_length() - 8)
    else:
        found = np.rint((values - scale.black) * (255 / span))
    found = np.clip(found, 0, 255)
    return 255 - found if scale.inverted else found


def values(image: Image.Image) -> NDArray[Any]:
    """The values of a deep image as they are, int64 or float64 [H, W]."""
    return _values(image, False)


def _values(image: Image.Image, unsigned: bool) -> NDArray[Any]:
    if image.mode == "F":
        return np.asarray(image, dtype=np.float64)
    whole = np.asarray(image).astype(np.int64)
    return whole & 0xFFFFFFFF if unsigned else whole


def _measured(least: float, most: float, *, floats: bool) -> tuple[float, float, str]:
    """Black, white and what to say of it, from the least and the most that finite pixels reach."""
    if floats:
        if least >= -_OVERSHOOT and most <= 1 + _OVERSHOOT:
            return 0, 1, ""
        if least >= 0 and _FLOAT_BYTES[0] < most <= _FLOAT_BYTES[1]:
            return 0, 255, ""
    elif least >= 0 and most <= _DEEP:
        narrow = next((white for white in _NARROW if most <= white), None)
        return (0, narrow, USED_BITS) if narrow is not None and most > 0 else (0, _DEEP, "")
    black = min(least, 0)
    return black, max(most, black + 1), OWN_RANGE


def _extremes(parts: Iterable[Image.Image], unsigned: bool) -> tuple[float, float]:
    """The least and the most of all finite values; 0 where there are none."""
    return _reach(_values(part, unsigned) for part in parts)


def _reach(parts: Iterable[NDArray[Any]]) -> tuple[float, float]:
    least, most = np.inf, -np.inf
    for found in parts:
        finite = found[np.isfinite(found)]
        if finite.size:
            least, most = min(least, float(finite.min())), max(most, float(finite.max()))
    return (least, most) if least <= most else (0.0, 0.0)


def _stated(header: Any, tags: tuple[int, int]) -> tuple[float, float] | None:
    """The range that a TIFF header states, if it is one."""
    black, white = (_number(header, tag) for tag in tags)
    if black is None or white is None or not np.isfinite([black, white]).all() or black >= white:
        return None
    return black, white


def _number(header: Any, tag: int) -> float | None:
    """The first number of a TIFF tag; None where it is missing, or no number."""
    found = header.get(tag)
    try:
        return float(found[0] if isinstance(found, tuple) else found)
    except (TypeError, ValueError, IndexError):
        return None
