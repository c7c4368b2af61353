"""Any image file to RGB, as a photo viewer shows it; anything else to one error that names the file."""

from __future__ import annotations

import io
import os
import re
import stat
import warnings
from collections.abc import Callable
from contextlib import nullcontext

from PIL import Image, ImageFile, UnidentifiedImageError

from transfer_cli.data.reading import kinds, large
from transfer_cli.data.reading.colours import meaning_of, raw_layout, to_rgb
from transfer_cli.errors import UserError, one_line
from transfer_cli.models.pixels import MAX_PIXELS

VERSION = 2
"""Goes up when the same file would decode to other pixels: what caches hold is then made again."""

_EXIF_ORIENTATION = 0x0112
TRANSPOSE = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SAMPLES_PER_PIXEL = 277
_XMP_ORIENTATION = re.compile(rb"""tiff:Orientation\s*(?:=\s*["']|>)\s*([1-8])""")


Remark = Callable[[str], None]
"""Is called with what the user should know of how an image is shown."""


def no_remark(text: str) -> None:
    """For those who do not want to know."""


class DecodeError(UserError):
    """An image that cannot be decoded: `name` of the file (or sample), and the `reason` in a few words."""

    def __init__(self, name: str, reason: str) -> None:
        # Both go to Exception, so that the error survives the way from a worker process.
        super().__init__(name, reason)
        self.name, self.reason = name, reason

    def __str__(self) -> str:
        return f"{one_line(self.name)}: {self.reason}."


def open_image(
    source: str | os.PathLike[str] | bytes,
    *,
    name: str = "",
    max_pixels: int | None = None,
    remark: Remark = no_remark,
) -> Image.Image:
    """The first frame of a file, or of a file's bytes, as an RGB image, upright and on white where transparent.

    Colour profiles are not applied, as in torchvision: published accuracies hold for pixels as they are. One of more
    than MAX_PIXELS, where `max_pixels` allows it, is reduced by a whole number. `remark` is called with what the user
    should know of how it is shown. Raises DecodeError naming the file (or `name`) where it is empty, truncated, no
    image, or above `max_pixels` (MAX_PIXELS where that is None).
    """
    shown = name or ("<bytes>" if isinstance(source, bytes) else os.fspath(source))
    most = allow(max_pixels)
    try:
        if not isinstance(source, bytes) and not stat.S_ISREG(os.stat(source).st_mode):
            raise DecodeError(shown, "not a regular file")  # a pipe would be waited for, for ever
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's remarks on metadata would land in the user's terminal
            file = io.BytesIO(source) if isinstance(source, bytes) else source
            with Image.open(file, formats=kinds.formats()) as image:
                if image.width * image.height > most:
                    reason = f"{image.width} x {image.height} pixels, above the cap of {most} (dataset.max_pixels)"
                    raise DecodeError(shown, reason)
                return _shown(image, remark)
    except DecodeError:
        raise
    except Image.DecompressionBombError:
        raise DecodeError(shown, f"more pixels than the cap of {most} (dataset.max_pixels)") from None
    except Exception as error:  # Pillow's readers raise a dozen types on damaged input
        raise DecodeError(shown, f"cannot be decoded ({reason_of(source, error)})") from error


def allow(max_pixels: int | None) -> int:
    """Let Pillow open images of so many pixels (MAX_PIXELS where that is None), and how many these are."""
    most = MAX_PIXELS if max_pixels is None else max_pixels
    Image.MAX_IMAGE_PIXELS = max(Image.MAX_IMAGE_PIXELS or 0, most // 2)  # Pillow refuses what is above twice this
    return most


def _shown(image: ImageFile.ImageFile, remark: Remark) -> Image.Image:
    """An opened image as a viewer shows it."""
    bands = getattr(image, "tag_v2", {}).get(_SAMPLES_PER_PIXEL, 1)
    if isinstance(bands, int) and bands > len(image.getbands()):
        remark(f"of {bands} channels {len(image.getbands())} are shown; dataset.channels={bands} reads all of them")
    with large.ONE_AT_A_TIME if large.factor_of(*image.size) > 1 else nullcontext():
        large.draft(image)
        layout = raw_layout(image)
        image.load()
        factor = large.factor_of(*image.size)
        meaning = meaning_of(image, layout, large.strips(image, factor))
        if meaning.remark:
            remark(meaning.remark)
        upright = TRANSPOSE.get(orientation(image))
        rgb = large.reduced(image, factor, lambda part: to_rgb(part, meaning))
    return rgb if upright is None else rgb.transpose(upright)


def reason_of(source: str | os.PathLike[str] | bytes, error: Exception) -> str:
    """A few words on why a file could not be decoded."""
    if isinstance(error, OSError) and error.strerror:
        return str(error.strerror).lower()
    if (len(source) if isinstance(source, bytes) else os.path.getsize(source)) == 0:
        return "the file is empty"
    if isinstance(error, UnidentifiedImageError):
        return kinds.name_of(_head(source)) or "not an image, or not of a known format"
    return str(error) or "the file is damaged"


def is_picture(file: str | os.PathLike[str]) -> bool:
    """Whether a file's content is that of an image that can be read, whatever it is called."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(file, formats=kinds.formats()):
                return True
    except Image.DecompressionBombError:
        return True
    except Exception:  # Pillow's readers raise a dozen types on damaged input
        return False


def is_array_file(file: str | os.PathLike[str]) -> bool:
    """Whether a file's content is that of a NumPy array or a DICOM file."""
    try:
        return kinds.is_array_head(_head(file))
    except OSError:
        return False


def what_else(file: str | os.PathLike[str]) -> str:
    """What a file is that is no picture that can be read; "" where it is of no known kind."""
    try:
        return kinds.name_of(_head(file))
    except OSError:
        return ""


def _head(source: str | os.PathLike[str] | bytes) -> bytes:
    """The first bytes of a file."""
    if isinstance(source, bytes):
        return source[:132]
    with open(source, "rb") as file:
        return file.read(132)


def orientation(image: Image.Image) -> int:
    """How the picture was turned when stored, as EXIF or else XMP says; unreadable ones are ignored, as viewers do."""
    if image.format == "HEIF":
        return 1  # turned already by what reads it
    try:
        orientation = image.getexif().get(_EXIF_ORIENTATION)
    except Exception:
        orientation = None
    if isinstance(orientation, int) and 1 <= orientation <= 8:
        return orientation
    packet = image.info.get("xmp") or image.info.get("XML:com.adobe.xmp") or b""
    found = _XMP_ORIENTATION.search(packet.encode() if isinstance(packet, str) else packet)
    return int(found[1]) if found else 1


# A truncated file must be an error, whatever another library set in this process.
ImageFile.LOAD_TRUNCATED_IMAGES = False
