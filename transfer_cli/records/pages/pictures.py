"""Pictures inside a page, as data: thumbnails of images, and sheets that a run has drawn."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

_THUMBNAIL = 160
_SMALL = 64
"""Up to this side a picture is kept as it is: the page blows its pixels up, and JPEG would smear them."""
_QUALITY, _SHEET_QUALITY = 82, 88


def thumbnail(pixels: NDArray[np.uint8]) -> str:
    """A small copy of an image [H, W, C] as a data URI; of more than three channels the first three."""
    seen = pixels[..., :3] if pixels.shape[2] > 2 else np.repeat(pixels[..., :1], 3, axis=2)
    image = Image.fromarray(np.ascontiguousarray(seen))
    if max(image.size) <= _SMALL:
        return _encoded(image, "PNG")
    image.thumbnail((_THUMBNAIL, _THUMBNAIL))
    return _encoded(image, "JPEG", quality=_QUALITY)


def is_small(picture: str | None) -> bool:
    """Whether a thumbnail is the image as it is, so that its pixels are to be seen."""
    return picture is not None and picture.startswith("data:image/png")


def sheet(path: Path) -> tuple[str, int, int]:
    """A PNG file as a data URI, as it is or as JPEG if that is smaller, and its width and height. Raises OSError."""
    data = path.read_bytes()
    try:
        with Image.open(io.BytesIO(data)) as opened:
            image = opened.convert("RGB")
    except UnidentifiedImageError as error:
        # Its message names an object of ours.
        raise OSError("cannot be read as a picture") from error
    except (ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise OSError(f"cannot be read as a picture ({error})") from error
    jpeg = _encoded(image, "JPEG", quality=_SHEET_QUALITY)
    return min(_uri("png", data), jpeg, key=len), image.width, image.height


def _encoded(image: Image.Image, form: str, **options: int | bool) -> str:
    data = io.BytesIO()
    image.save(data, form, **options)
    return _uri(form.lower(), data.getvalue())


def _uri(form: str, data: bytes) -> str:
    return f"data:image/{form};base64,{base64.b64encode(data).decode()}"
