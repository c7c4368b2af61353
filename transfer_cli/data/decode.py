"""Any image file to RGB, as a photo viewer shows it; anything else to one error that names the file."""

from __future__ import annotations

import io
import os
import warnings

import numpy as np
from PIL import Image, ImageFile, UnidentifiedImageError

from transfer_cli.errors import UserError

VERSION = 1
"""Goes up when the same file would decode to other pixels: what caches hold is then made again."""
MAX_PIXELS = 178_956_970  # Pillow's own limit for an error; a larger header is a mistake or an attack
EXTENSIONS = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm"}
    | {".avif", ".jp2"}
)

# A short list on purpose: some of Pillow's other readers start programs (EPS runs Ghostscript).
_FORMATS = ("JPEG", "MPO", "PNG", "BMP", "GIF", "WEBP", "TIFF", "PPM", "AVIF", "JPEG2000")
_EXIF_ORIENTATION = 0x0112
_TRANSPOSE = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class DecodeError(UserError):
    """A file that should be an image cannot be decoded."""


def open_image(source: str | os.PathLike[str] | bytes, *, name: str = "", max_pixels: int = MAX_PIXELS) -> Image.Image:
    """The first frame of a file, or of a file's bytes, as an RGB image, upright and on white where transparent.

    Raises DecodeError naming the file (or `name`) where it is empty, truncated, no image, or above `max_pixels`.
    """
    shown = name or ("<bytes>" if isinstance(source, bytes) else os.fspath(source))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's remarks on metadata would land in the user's terminal
            with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source, formats=_formats()) as image:
                if image.width * image.height > max_pixels:
                    raise DecodeError(f"{shown}: {image.width} x {image.height} pixels, above the cap of {max_pixels}.")
                image.load()
                return _to_rgb(_upright(image))
    except DecodeError:
        raise
    except Image.DecompressionBombError:
        raise DecodeError(f"{shown}: more pixels than the cap of {max_pixels}.") from None
    except Exception as error:  # Pillow's readers raise a dozen types on damaged input
        raise DecodeError(f"{shown}: cannot be decoded ({_reason(shown, source, error)}).") from error


def _formats() -> list[str]:
    """The formats of `_FORMATS` that this build of Pillow can read."""
    Image.init()
    return [name for name in _FORMATS if name in Image.OPEN]


def _reason(shown: str, source: str | os.PathLike[str] | bytes, error: Exception) -> str:
    """A few words on why a file could not be decoded."""
    if isinstance(error, FileNotFoundError | PermissionError | IsADirectoryError):
        return str(error.strerror).lower()
    if (len(source) if isinstance(source, bytes) else os.path.getsize(source)) == 0:
        return "the file is empty"
    if isinstance(error, UnidentifiedImageError):
        return "not an image, or not of a known format"
    return str(error) or type(error).__name__


def _upright(image: Image.Image) -> Image.Image:
    """`image` turned as its EXIF orientation asks; unreadable EXIF is ignored, as viewers do."""
    try:
        orientation = image.getexif().get(_EXIF_ORIENTATION, 1)
    except Exception:
        return image
    method = _TRANSPOSE.get(orientation) if isinstance(orientation, int) else None
    return image if method is None else image.transpose(method)


def _to_rgb(image: Image.Image) -> Image.Image:
    """`image` in mode RGB; 16-bit greys keep their high byte, transparency shows white."""
    if image.mode.startswith("I"):
        return _grey(np.asarray(image).astype(np.int64) >> 8)
    if image.mode == "F":
        values = np.nan_to_num(np.asarray(image, dtype=np.float64))
        return _grey(values * 255 if values.max(initial=0) <= 1 else values)
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, rgba).convert("RGB")
    return image.convert("RGB")


def _grey(values: np.ndarray[tuple[int, ...], np.dtype[np.int64 | np.float64]]) -> Image.Image:
    """An RGB image of grey values, clipped to 0..255."""
    return Image.fromarray(np.clip(values, 0, 255).astype(np.uint8), mode="L").convert("RGB")


# A truncated file must be an error, whatever another library set in this process.
ImageFile.LOAD_TRUNCATED_IMAGES = False
