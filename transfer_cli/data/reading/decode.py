"""Any image file to RGB, as a photo viewer shows it; anything else to one error that names the file."""

from __future__ import annotations

import io
import os
import stat
import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, UnidentifiedImageError

from transfer_cli.errors import UserError
from transfer_cli.models.pixels import MAX_PIXELS

VERSION = 1
"""Goes up when the same file would decode to other pixels: what caches hold is then made again."""
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


_KEY_SCALES = {"L;2": 85, "L;4": 17}
_BRIGHTEST_HIGHLIGHT = 16.0


class DecodeError(UserError):
    """An image that cannot be decoded: `name` of the file (or sample), and the `reason` in a few words."""

    def __init__(self, name: str, reason: str) -> None:
        # Both go to Exception, so that the error survives the way from a worker process.
        super().__init__(name, reason)
        self.name, self.reason = name, reason

    def __str__(self) -> str:
        return f"{self.name}: {self.reason}."


def open_image(source: str | os.PathLike[str] | bytes, *, name: str = "") -> Image.Image:
    """The first frame of a file, or of a file's bytes, as an RGB image, upright and on white where transparent.

    Colour profiles are not applied, as in torchvision: published accuracies hold for pixels as they are. Raises
    DecodeError naming the file (or `name`) where it is empty, truncated, no image, or above MAX_PIXELS.
    """
    shown = name or ("<bytes>" if isinstance(source, bytes) else os.fspath(source))
    try:
        if not isinstance(source, bytes) and not stat.S_ISREG(os.stat(source).st_mode):
            raise DecodeError(shown, "not a regular file")  # a pipe would be waited for, for ever
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's remarks on metadata would land in the user's terminal
            with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source, formats=_formats()) as image:
                if image.width * image.height > MAX_PIXELS:
                    raise DecodeError(shown, f"{image.width} x {image.height} pixels, above the cap of {MAX_PIXELS}")
                layout = _raw_layout(image)
                image.load()
                return _to_rgb(_upright(image), layout)
    except DecodeError:
        raise
    except Image.DecompressionBombError:
        raise DecodeError(shown, f"more pixels than the cap of {MAX_PIXELS}") from None
    except Exception as error:  # Pillow's readers raise a dozen types on damaged input
        raise DecodeError(shown, f"cannot be decoded ({_reason(source, error)})") from error


def _formats() -> list[str]:
    """The formats of `_FORMATS` that this build of Pillow can read."""
    Image.init()
    return [name for name in _FORMATS if name in Image.OPEN]


def _reason(source: str | os.PathLike[str] | bytes, error: Exception) -> str:
    """A few words on why a file could not be decoded."""
    if isinstance(error, OSError) and error.strerror:
        return str(error.strerror).lower()
    if (len(source) if isinstance(source, bytes) else os.path.getsize(source)) == 0:
        return "the file is empty"
    if isinstance(error, UnidentifiedImageError):
        return "not an image, or not of a known format"
    return str(error) or "the file is damaged"


def _raw_layout(image: ImageFile.ImageFile) -> str:
    """How the file holds its pixels, in Pillow's terms ("L;4", "RGB;16B"); known only before loading."""
    arguments = image.tile[0][3] if image.tile else ""
    layout = arguments[0] if isinstance(arguments, tuple) and arguments else arguments
    return layout if isinstance(layout, str) else ""


def _upright(image: Image.Image) -> Image.Image:
    """`image` turned as its EXIF orientation asks; unreadable EXIF is ignored, as viewers do."""
    try:
        orientation = image.getexif().get(_EXIF_ORIENTATION, 1)
    except Exception:
        return image
    method = _TRANSPOSE.get(orientation) if isinstance(orientation, int) else None
    return image if method is None else image.transpose(method)


def _to_rgb(image: Image.Image, layout: str) -> Image.Image:
    """`image` in mode RGB; 16-bit greys keep their high byte, transparency shows white."""
    key = image.info.get("transparency")
    if image.mode.startswith("I"):
        values = np.asarray(image).astype(np.int64)
        return _grey(np.where(values == key, 255, values >> 8) if isinstance(key, int) else values >> 8)
    if image.mode == "F":
        return _grey(_float_levels(np.asarray(image, dtype=np.float64)))
    if image.mode == "CMYK" and image.format == "JPEG" and "adobe" not in image.info:
        image = image.point([255 - level for level in range(256)] * 4)  # Pillow takes every one for Adobe's, inverted
    if image.has_transparency_data:
        _match_key_to_pixels(image, layout)
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, rgba).convert("RGB")
    return image.convert("RGB")


def _match_key_to_pixels(image: Image.Image, layout: str) -> None:
    """Bring the transparent colour of a PNG to the 8 bits that its pixels have been brought to.

    Of 16-bit colours only the high bytes are left to compare.
    """
    key = image.info.get("transparency")
    if isinstance(key, int) and layout in _KEY_SCALES:
        image.info["transparency"] = key * _KEY_SCALES[layout]
    elif isinstance(key, tuple) and ";16" in layout:
        image.info["transparency"] = tuple(level >> 8 for level in key)


def _float_levels(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Levels 0..255 of float greys: 1.0 is white and highlights above are clipped; a range far above 1 is 0..255."""
    largest = values[np.isfinite(values)].max(initial=0)
    white = 1.0 if largest <= _BRIGHTEST_HIGHLIGHT else 255.0
    return np.rint(np.nan_to_num(values / white, nan=0, posinf=1, neginf=0) * 255)


def _grey(values: NDArray[Any]) -> Image.Image:
    """An RGB image of grey levels, clipped to 0..255."""
    return Image.fromarray(np.clip(values, 0, 255).astype(np.uint8), mode="L").convert("RGB")


# A truncated file must be an error, whatever another library set in this process.
ImageFile.LOAD_TRUNCATED_IMAGES = False
