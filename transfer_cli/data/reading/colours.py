"""What an image's pixels look like in RGB: transparent ones on white, deep greys by their scale."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageFile

from transfer_cli.data.reading import levels

_KEY_SCALES = {"L;2": 85, "L;4": 17}


@dataclass(frozen=True)
class Meaning:
    """What is to be known of a whole image before a part of it can be shown."""

    layout: str
    """How the file holds its pixels, in Pillow's terms ("L;4", "RGB;16B")."""
    format: str | None
    scale: levels.Scale | None
    """Of deep greys."""
    ignores_alpha: bool
    signed_bytes: bool
    """Whether bytes stand for -128 to 127, which Pillow reads as 0 to 255."""
    remark: str
    """What the user should know of how it is shown."""


def raw_layout(image: ImageFile.ImageFile) -> str:
    """How the file holds its pixels; known only before loading."""
    arguments = image.tile[0][3] if image.tile else ""
    layout = arguments[0] if isinstance(arguments, tuple) and arguments else arguments
    return layout if isinstance(layout, str) else ""


def meaning_of(image: Image.Image, layout: str, parts: Iterable[Image.Image]) -> Meaning:
    """The meaning of an image, loaded, that `parts` make up."""
    scale = levels.scale_of(image, parts) if levels.is_deep(image) else None
    # Programs leave the fourth byte of a bitmap 0; viewers take what would be wholly transparent for opaque.
    ignores_alpha = image.format == "BMP" and image.mode == "RGBA" and image.getchannel("A").getextrema() == (0, 0)
    remark = scale.remark if scale is not None else levels.DARK if _is_dark(image, layout) else ""
    return Meaning(layout, image.format, scale, ignores_alpha, levels.holds_signed_bytes(image), remark)


def to_rgb(image: Image.Image, meaning: Meaning) -> Image.Image:
    """An image, or a part of it, in mode RGB."""
    key = image.info.get("transparency")
    if meaning.scale is not None:
        grey = levels.levels(image, meaning.scale)
        if image.mode != "F" and isinstance(key, int):
            grey = np.where(levels.values(image) == key, 255, grey)
        return Image.fromarray(grey.astype(np.uint8), mode="L").convert("RGB")
    if meaning.signed_bytes:
        image = image.point([level ^ 128 for level in range(256)] * len(image.getbands()))
    if image.mode == "CMYK" and meaning.format == "JPEG" and "adobe" not in image.info:
        image = image.point([255 - level for level in range(256)] * 4)  # Pillow takes every one for Adobe's, inverted
    if image.has_transparency_data and not meaning.ignores_alpha:
        _match_key_to_pixels(image, meaning.layout)
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, rgba).convert("RGB")
    return image.convert("RGB")


def _is_dark(image: Image.Image, layout: str) -> bool:
    """Whether 16-bit colours, of which Pillow keeps the high bytes, look like 12-bit ones."""
    if not layout.startswith("RGB;16"):
        return False
    return levels.is_dark(256 * max(int(np.ravel(image.getchannel(band).getextrema())[1]) for band in "RGB"))


def _match_key_to_pixels(image: Image.Image, layout: str) -> None:
    """Bring the transparent colour of a PNG to the 8 bits that its pixels have been brought to.

    Of 16-bit colours only the high bytes are left to compare.
    """
    key = image.info.get("transparency")
    if isinstance(key, int) and layout in _KEY_SCALES:
        image.info["transparency"] = key * _KEY_SCALES[layout]
    elif isinstance(key, tuple) and ";16" in layout:
        image.info["transparency"] = tuple(level >> 8 for level in key)
