"""Images of more than 8 bits a pixel, and what headers say of greys, of alpha and of which way is up."""

from __future__ import annotations

import numpy as np
from PIL import Image

from tests.data.cases import Case, Shows
from tests.data.pictures import (
    BLACK,
    CORNERS,
    GREYS,
    LEVELS,
    bmp_with_alpha,
    exif,
    floats,
    grey,
    saved,
    tiff,
    turned,
    twelve_bits,
    xmp,
)

DEEP = LEVELS.astype(np.uint16) * 257
LOSSY = Shows(tolerance=12)

DEPTHS: dict[str, Case] = {
    "tiff 12 bit": Case(lambda: tiff(twelve_bits(LEVELS.astype(int) * 16 + 15), 12, 1, 1), Shows(GREYS), "a.tif"),
    "tiff 12 of 16 bit": Case(
        lambda: saved(Image.fromarray(LEVELS.astype(np.uint16) * 16 + 15), "TIFF"), Shows(GREYS), "a.tif"
    ),
    "tiff 8 of 16 bit": Case(lambda: saved(Image.fromarray(LEVELS.astype(np.uint16)), "TIFF"), Shows(GREYS), "a.tif"),
    "tiff 14 of 16 bit by its header": Case(
        lambda: tiff((LEVELS.astype("<u2") * 64 + 63).tobytes(), 16, 1, 1, most=16383), Shows(GREYS), "a.tif"
    ),
    "tiff 16 bit, dark": Case(
        lambda: saved(Image.fromarray(LEVELS.astype(np.uint16) * 32), "TIFF"),
        Shows((BLACK, grey(10), grey(21), grey(31))),
        "a.tif",
    ),
    "tiff 16 bit, black": Case(
        lambda: saved(Image.fromarray(LEVELS.astype(np.uint16) * 0), "TIFF"), Shows([BLACK] * 4), "a.tif"
    ),
    "tiff 16 bit, white is zero": Case(
        lambda: tiff((65535 - DEEP.astype("<u2")).tobytes(), 16, 1, 1, inverted=True), Shows(GREYS), "a.tif"
    ),
    "tiff float, white is zero": Case(
        lambda: tiff((1 - LEVELS / 255).astype("<f4").tobytes(), 32, 1, 3, inverted=True), Shows(GREYS), "a.tif"
    ),
    "tiff signed": Case(lambda: tiff((LEVELS.astype("<i2") * 16 - 1024).tobytes(), 16, 1, 2), Shows(GREYS), "a.tif"),
    "tiff signed bytes": Case(
        lambda: tiff((LEVELS.astype(int) - 128).astype("i1").tobytes(), 8, 1, 2), Shows(GREYS), "a.tif"
    ),
    "tiff 32 bit": Case(lambda: tiff((LEVELS.astype("<u4") * 16_843_009).tobytes(), 32, 1, 1), Shows(GREYS), "a.tif"),
    "tiff 32 bit of 16": Case(lambda: tiff(DEEP.astype("<u4").tobytes(), 32, 1, 1), Shows(GREYS), "a.tif"),
    "tiff float to 4095": Case(lambda: floats(0, 1365, 2730, 4095), Shows(GREYS), "a.tif"),
    "tiff float from -1 to 1": Case(lambda: floats(-1, -1 / 3, 1 / 3, 1), Shows(GREYS), "a.tif"),
    "tiff float that overshoots": Case(lambda: floats(-0.02, 1 / 3, 2 / 3, 1.02), Shows(GREYS), "a.tif"),
    "tiff float by its header": Case(
        lambda: tiff((LEVELS / 255 * 1000).astype("<f4").tobytes(), 32, 1, 3, stated=(0, 2000)),
        Shows((BLACK, grey(42), grey(85), grey(128)), tolerance=1),
        "a.tif",
    ),
    "tiff float of a header that makes no sense": Case(
        lambda: tiff((LEVELS / 255).astype("<f4").tobytes(), 32, 1, 3, stated=(np.nan, 0)), Shows(GREYS), "a.tif"
    ),
    "bmp with an alpha of 0": Case(lambda: bmp_with_alpha(0), Shows(), "a.bmp"),
    "bmp with an alpha of 255": Case(lambda: bmp_with_alpha(255), Shows(), "a.bmp"),
    "bmp half transparent": Case(
        lambda: bmp_with_alpha(128),
        Shows([tuple(round(255 - (255 - level) * 128 / 255) for level in colour) for colour in CORNERS], tolerance=1),
        "a.bmp",
    ),
    **{
        f"jpeg turned by XMP, {number}": Case(
            lambda text=text, more=more: saved(turned(6), "JPEG", quality=98, subsampling=0, xmp=xmp(text), **more),
            LOSSY,
        )
        for number, (text, more) in enumerate(
            [
                ('tiff:Orientation="6"', {}),
                ("tiff:Orientation='6'", {}),
                ('tiff:Orientation = "6"', {"exif": b"Exif\0\0II*\0garbage"}),
                ("tiff:Orientation='6'", {"exif": exif(0)}),
                ('tiff:Orientation="3"', {"exif": exif(6)}),
            ]
        )
    },
    "webp turned by XMP": Case(
        lambda: saved(turned(8), "WEBP", lossless=True, xmp=xmp("tiff:Orientation='8'")), Shows(), "a.webp"
    ),
}
