"""Bad and odd images, made when asked for, each with what must come of it.

A case shows the four quarters of PICTURE, or other colours where a format cannot hold them, or is refused with words.
"""

from __future__ import annotations

import base64
import struct
import zlib

import numpy as np
from PIL import Image, features

from tests.data.cases import Case, Refused, Shows
from tests.data.corpus_depths import DEEP, DEPTHS, LOSSY
from tests.data.pictures import (
    ALPHA,
    BLACK,
    BLUE,
    CORNERS,
    GREEN,
    GREYS,
    HEIGHT,
    LEVELS,
    PICTURE,
    PIXELS,
    RED,
    WHITE,
    WIDTH,
    YELLOW,
    after_sof,
    changed,
    chunk,
    exif,
    floats,
    frames,
    grey,
    jpeg,
    noisy_jpeg,
    png,
    profile,
    rows_of,
    saved,
    tiff,
    turned,
    without_adobe,
)

# cjpeg -arithmetic of 24 x 16 pixels, the left half (200, 40, 40), the right (40, 80, 200).
ARITHMETIC = base64.b64decode(
    "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAAMCAgMCAgMDAwMEAwMEBQgFBQQEBQoHBwYIDAoMDAsKCwsNDhIQDQ4RDgsLEBYQERMUFRUVDA8XGBYU"
    "GBIUFRT/2wBDAQMEBAUEBQkFBQkUDQsNFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBT/yQARCAAQABgD"
    "ASIAAhEBAxEB/8wACgAQEAUBEBEF/9oADAMBAAIRAxEAPwD/ANINTTMMeDqN01i2tXIGSOg0oI1QCBHxuDyCArmjuJBShBvNtkz/2Q=="
)

RGBA = Image.fromarray(np.dstack([PIXELS, ALPHA]))
LA = Image.fromarray(np.dstack([LEVELS, ALPHA]), "LA")
ON_WHITE = (WHITE, GREEN, BLUE, YELLOW)
GREYS_ON_WHITE = (WHITE, *GREYS[1:])
PALETTE = PICTURE.quantize(4)
INDICES = np.repeat(np.repeat(np.array([[0, 1], [2, 3]]), 8, 0), 12, 1)
PLTE = chunk(b"PLTE", bytes(level for colour in CORNERS for level in colour))

PNGS: dict[str, Case] = {
    "png": Case(lambda: saved(PICTURE, "PNG"), Shows(), "a.png"),
    "png grey": Case(lambda: saved(Image.fromarray(LEVELS), "PNG"), Shows(GREYS), "a.png"),
    "png 1 bit": Case(lambda: png(rows_of(LEVELS // 128, 1), 1, 0), Shows((BLACK, BLACK, WHITE, WHITE)), "a.png"),
    "png 2 bit": Case(lambda: png(rows_of(LEVELS // 85, 2), 2, 0), Shows(GREYS), "a.png"),
    "png 4 bit": Case(lambda: png(rows_of(LEVELS // 17, 4), 4, 0), Shows(GREYS), "a.png"),
    "png 16 bit grey": Case(lambda: png(rows_of(DEEP, 16), 16, 0), Shows(GREYS), "a.png"),
    "png 16 bit RGB": Case(lambda: png(rows_of(PIXELS.astype(int) * 256 + 99, 16), 16, 2), Shows(), "a.png"),
    "png 16 bit RGBA": Case(
        lambda: png(rows_of(np.dstack([PIXELS, ALPHA]).astype(int) * 257, 16), 16, 6), Shows(ON_WHITE), "a.png"
    ),
    "png 16 bit grey and alpha": Case(
        lambda: png(rows_of(np.dstack([LEVELS, ALPHA]).astype(int) * 257, 16), 16, 4), Shows(GREYS_ON_WHITE), "a.png"
    ),
    "png RGBA": Case(lambda: saved(RGBA, "PNG"), Shows(ON_WHITE), "a.png"),
    "png grey and alpha": Case(lambda: saved(LA, "PNG"), Shows(GREYS_ON_WHITE), "a.png"),
    "png half transparent": Case(
        lambda: saved(Image.new("RGBA", (WIDTH, HEIGHT), (0, 100, 200, 128)), "PNG"),
        Shows([(127, 177, 227)] * 4, tolerance=1),
        "a.png",
    ),
    "png palette": Case(lambda: png(rows_of(INDICES), 8, 3, PLTE), Shows(), "a.png"),
    "png 2 bit palette": Case(lambda: png(rows_of(INDICES, 2), 2, 3, PLTE), Shows(), "a.png"),
    "png palette with alpha": Case(
        lambda: png(rows_of(INDICES), 8, 3, PLTE, chunk(b"tRNS", b"\0")), Shows(ON_WHITE), "a.png"
    ),
    "png palette half transparent": Case(
        lambda: png(rows_of(INDICES), 8, 3, PLTE, chunk(b"tRNS", b"\xff\x80")),
        Shows((RED, (142, 227, 157), BLUE, YELLOW), tolerance=1),
        "a.png",
    ),
    "png transparent grey": Case(
        lambda: png(rows_of(LEVELS), 8, 0, chunk(b"tRNS", struct.pack(">H", 85))),
        Shows((BLACK, WHITE, grey(170), WHITE)),
        "a.png",
    ),
    "png transparent 1 bit grey": Case(
        lambda: png(rows_of(LEVELS // 128, 1), 1, 0, chunk(b"tRNS", struct.pack(">H", 0))), Shows([WHITE] * 4), "a.png"
    ),
    "png transparent 4 bit grey": Case(
        lambda: png(rows_of(LEVELS // 17, 4), 4, 0, chunk(b"tRNS", struct.pack(">H", 5))),
        Shows((BLACK, WHITE, grey(170), WHITE)),
        "a.png",
    ),
    "png transparent 16 bit grey": Case(
        lambda: png(rows_of(DEEP, 16), 16, 0, chunk(b"tRNS", struct.pack(">H", 85 * 257))),
        Shows((BLACK, WHITE, grey(170), WHITE)),
        "a.png",
    ),
    "png transparent colour": Case(
        lambda: png(rows_of(PIXELS), 8, 2, chunk(b"tRNS", struct.pack(">HHH", *RED))), Shows(ON_WHITE), "a.png"
    ),
    "png transparent 16 bit colour": Case(
        lambda: png(
            rows_of(PIXELS.astype(int) * 256 + 99, 16),
            16,
            2,
            chunk(b"tRNS", struct.pack(">HHH", *(256 * c + 99 for c in RED))),
        ),
        Shows(ON_WHITE),
        "a.png",
    ),
    "png animated": Case(lambda: frames("PNG"), Shows(), "a.png"),
    "png turned": Case(lambda: saved(turned(6), "PNG", exif=exif(6)), Shows(), "a.png"),
    "png with a profile": Case(lambda: saved(PICTURE, "PNG", icc_profile=profile()), Shows(), "a.png"),
    "png with a broken profile": Case(lambda: saved(PICTURE, "PNG", icc_profile=b"no profile"), Shows(), "a.png"),
    "png without its end": Case(lambda: saved(PICTURE, "PNG")[:-12], Shows(), "a.png"),
    "png and more": Case(lambda: saved(PICTURE, "PNG") + b"more", Shows(), "a.png"),
    "png cut in its header": Case(lambda: saved(PICTURE, "PNG")[:20], Refused("cannot be decoded"), "a.png"),
    "png cut in its data": Case(lambda: saved(PICTURE, "PNG")[:50], Refused("truncated"), "a.png"),
    "png of too few bytes": Case(
        lambda: png([], 8, 0, data=zlib.compress(bytes(5 * 25 + 3))), Refused("truncated"), "a.png"
    ),
    "png of too few rows": Case(
        lambda: png(rows_of(LEVELS)[:5], 8, 0), Shows((BLACK, grey(85), BLACK, BLACK)), "a.png"
    ),
    "png of no zlib data": Case(lambda: png([], 8, 0, data=b"no zlib data"), Refused("broken data"), "a.png"),
    "png of a wrong checksum": Case(
        lambda: changed(saved(PICTURE, "PNG"), 29, b"\0\0\0\0"), Refused("not an image"), "a.png"
    ),
    "png of width 0": Case(lambda: png(rows_of(LEVELS), 8, 0, size=(0, 16)), Refused("not an image"), "a.png"),
    "png of 3.6 gigapixels": Case(
        lambda: png([], 8, 0, size=(60_000, 60_000), data=b""), Refused("the cap of 178956970"), "a.png"
    ),
    "png without its palette": Case(lambda: png(rows_of(INDICES), 8, 3), Refused("damaged"), "a.png"),
    "png with a text of 100 MB": Case(
        lambda: png(rows_of(LEVELS), 8, 0, chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(10**8)))),
        Refused("too large"),
        "a.png",
    ),
}

JPEGS: dict[str, Case] = {
    "jpeg": Case(jpeg, LOSSY),
    "jpeg progressive": Case(lambda: jpeg(progressive=True), LOSSY),
    "jpeg arithmetic": Case(
        lambda: ARITHMETIC, Shows([(200, 40, 42), (40, 80, 201), (200, 40, 42), (40, 80, 201)], tolerance=3)
    ),
    "jpeg grey": Case(lambda: saved(Image.fromarray(LEVELS), "JPEG", quality=98), Shows(GREYS, tolerance=12)),
    "jpeg RGB": Case(lambda: jpeg(keep_rgb=True), LOSSY),
    "jpeg CMYK of Adobe": Case(lambda: saved(PICTURE.convert("CMYK"), "JPEG", quality=98), LOSSY),
    "jpeg CMYK": Case(
        lambda: without_adobe(saved(Image.eval(PICTURE.convert("CMYK"), lambda v: 255 - v), "JPEG", quality=98)), LOSSY
    ),
    **{
        f"jpeg of orientation {number}": Case(
            lambda number=number: saved(turned(number), "JPEG", quality=98, subsampling=0, exif=exif(number)), LOSSY
        )
        for number in range(1, 9)
    },
    "jpeg of orientation 0": Case(lambda: jpeg(exif=exif(0)), LOSSY),
    "jpeg of orientation 9": Case(lambda: jpeg(exif=exif(9)), LOSSY),
    "jpeg of broken exif": Case(lambda: jpeg(exif=b"Exif\0\0II*\0garbage"), LOSSY),
    "jpeg of endless exif": Case(
        lambda: jpeg(exif=b"Exif\0\0" + b"II*\0\x08\0\0\0" + b"\x01\0\x69\x87\x04\0\x01\0\0\0\x08\0\0\0" + b"\0" * 4),
        LOSSY,
    ),
    "jpeg with a profile": Case(lambda: jpeg(icc_profile=profile()), LOSSY),
    "jpeg and more": Case(lambda: jpeg() + b"more" * 999, LOSSY),
    "jpeg of two pictures": Case(lambda: frames("MPO", quality=98, subsampling=0), LOSSY),
    "jpeg of one byte": Case(lambda: b"\xff", Refused("not an image")),
    "jpeg cut in its header": Case(lambda: noisy_jpeg()[:200], Refused("cannot be decoded")),
    "jpeg cut in the middle": Case(lambda: noisy_jpeg()[:1200], Refused("truncated")),
    "jpeg cut before its end": Case(lambda: noisy_jpeg()[:-3], Refused("truncated")),
    "jpeg progressive, cut": Case(lambda: jpeg(progressive=True)[:-40], Refused("truncated")),
    "jpeg overwritten": Case(lambda: changed(noisy_jpeg(), 1200, b"\xff" * 40), Refused("broken data")),
    "jpeg with a hole": Case(lambda: changed(noisy_jpeg(), 1200, bytes(40)), Shows(None, (64, 48))),
    "jpeg of 4.3 gigapixels": Case(
        lambda: changed(jpeg(), after_sof(jpeg()) + 5, struct.pack(">HH", 65_500, 65_500)),
        Refused("the cap of 178956970"),
    ),
    "jpeg of 12 bits": Case(lambda: changed(jpeg(), after_sof(jpeg()) + 4, b"\x0c"), Refused("not an image")),
    "jpeg after junk": Case(lambda: b"junk" + jpeg(), Refused("not an image")),
}

OTHERS: dict[str, Case] = {
    "gif": Case(lambda: saved(PALETTE, "GIF"), Shows(tolerance=2), "a.gif"),
    "gif animated": Case(lambda: frames("GIF"), Shows(tolerance=2), "a.gif"),
    "gif transparent": Case(
        lambda: saved(PALETTE, "GIF", transparency=PALETTE.getpixel((2, 2))), Shows(ON_WHITE, tolerance=2), "a.gif"
    ),
    "gif cut": Case(lambda: saved(PALETTE, "GIF")[:-30], Refused("truncated"), "a.gif"),
    "webp": Case(lambda: saved(PICTURE, "WEBP", quality=95), Shows(tolerance=20), "a.webp"),
    "webp lossless": Case(lambda: saved(PICTURE, "WEBP", lossless=True), Shows(), "a.webp"),
    "webp with alpha": Case(lambda: saved(RGBA, "WEBP", lossless=True), Shows(ON_WHITE), "a.webp"),
    "webp animated": Case(lambda: frames("WEBP", lossless=True), Shows(), "a.webp"),
    "webp turned": Case(lambda: saved(turned(8), "WEBP", lossless=True, exif=exif(8)), Shows(), "a.webp"),
    "webp cut": Case(lambda: saved(PICTURE, "WEBP", lossless=True)[:-20], Refused("cannot be decoded"), "a.webp"),
    "tiff": Case(lambda: saved(PICTURE, "TIFF"), Shows(), "a.tif"),
    "tiff deflate": Case(lambda: saved(PICTURE, "TIFF", compression="tiff_adobe_deflate"), Shows(), "a.tif"),
    "tiff lzw": Case(lambda: saved(PICTURE, "TIFF", compression="tiff_lzw"), Shows(), "a.tif"),
    "tiff of jpeg data": Case(
        lambda: saved(PICTURE, "TIFF", compression="jpeg", quality=98), Shows(tolerance=40), "a.tif"
    ),
    "tiff fax": Case(
        lambda: saved(Image.fromarray(LEVELS > 127), "TIFF", compression="group4"),
        Shows((BLACK, BLACK, WHITE, WHITE)),
        "a.tif",
    ),
    "tiff of two pages": Case(lambda: frames("TIFF"), Shows(), "a.tif"),
    "tiff palette": Case(lambda: saved(PALETTE, "TIFF"), Shows(tolerance=2), "a.tif"),
    "tiff CMYK": Case(lambda: saved(PICTURE.convert("CMYK"), "TIFF"), Shows(tolerance=1), "a.tif"),
    "tiff Lab": Case(
        lambda: saved(Image.new("LAB", (WIDTH, HEIGHT), (128, 128, 128)), "TIFF"),
        Shows([grey(119)] * 4, tolerance=2),
        "a.tif",
    ),
    "tiff with alpha": Case(lambda: saved(RGBA, "TIFF"), Shows(ON_WHITE), "a.tif"),
    "tiff turned": Case(lambda: saved(turned(6), "TIFF", exif=exif(6)), Shows(), "a.tif"),
    "tiff 16 bit grey": Case(lambda: saved(Image.fromarray(DEEP), "TIFF"), Shows(GREYS), "a.tif"),
    "tiff 16 bit RGB": Case(lambda: tiff((PIXELS.astype("<u2") * 257).tobytes(), 16, 3, 1), Shows(), "a.tif"),
    "tiff float": Case(lambda: floats(0, 85 / 255, 170 / 255, 1), Shows(GREYS), "a.tif"),
    "tiff float to 255": Case(lambda: floats(0, 85, 170, 255), Shows(GREYS), "a.tif"),
    "tiff float above 1": Case(lambda: floats(0, 2.5, 5, 7.5), Shows(GREYS), "a.tif"),
    "tiff float of no numbers": Case(
        lambda: floats(np.nan, -np.inf, 0.5, np.inf), Shows((BLACK, BLACK, grey(128), WHITE)), "a.tif"
    ),
    "tiff float RGB": Case(
        lambda: tiff((PIXELS / 255).astype("<f4").tobytes(), 32, 3, 3), Refused("dataset.channels"), "a.tif"
    ),
    "tiff cut": Case(lambda: saved(PICTURE, "TIFF")[:-300], Refused("cannot be decoded"), "a.tif"),
    "tiff of endless pages": Case(
        lambda: changed(saved(PICTURE, "TIFF"), 4, struct.pack("<I", 2**31)), Refused("cannot be decoded"), "a.tif"
    ),
    "bmp": Case(lambda: saved(PICTURE, "BMP"), Shows(), "a.bmp"),
    "bmp palette": Case(lambda: saved(PALETTE, "BMP"), Shows(tolerance=2), "a.bmp"),
    "bmp cut": Case(lambda: saved(PICTURE, "BMP")[:-300], Refused("truncated"), "a.bmp"),
    "ppm": Case(lambda: saved(PICTURE, "PPM"), Shows(), "a.ppm"),
    "pgm as text": Case(
        lambda: b"P2 24 16 3 " + b" ".join(b"%d" % (level // 85) for level in LEVELS.reshape(-1)), Shows(GREYS), "a.pgm"
    ),
    "pgm 16 bit": Case(lambda: b"P5 24 16 65535\n" + DEEP.astype(">u2").tobytes(), Shows(GREYS), "a.pgm"),
    "ppm of 400 megapixels": Case(lambda: b"P6 20000 20000 255\n", Refused("the cap of 178956970"), "a.ppm"),
    "jpeg 2000": Case(lambda: saved(PICTURE, "JPEG2000", irreversible=False), Shows(), "a.jp2"),
    "one pixel": Case(lambda: saved(Image.new("RGB", (1, 1), RED), "PNG"), Shows([RED] * 4, (1, 1)), "a.png"),
    "one column": Case(lambda: saved(PICTURE.resize((1, HEIGHT)), "PNG"), Shows(None, (1, HEIGHT)), "a.png"),
    "1 to 1000": Case(lambda: saved(PICTURE.resize((3000, 3)), "PNG"), Shows(None, (3000, 3)), "a.png"),
    "empty": Case(lambda: b"", Refused("the file is empty")),
    "text": Case(lambda: b"Ceci n'est pas une image.\n", Refused("not an image")),
    "zeros": Case(lambda: bytes(4096), Refused("not an image")),
    "noise": Case(lambda: np.random.default_rng(1).bytes(4096), Refused("not an image")),
    "web page": Case(lambda: b"<!DOCTYPE html><html><body>404</body></html>", Refused("not an image")),
    "postscript": Case(lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", Refused("not an image")),
    "vector drawing": Case(lambda: b"<svg xmlns='http://www.w3.org/2000/svg'/>", Refused("not an image"), "a.png"),
    "png called jpg": Case(lambda: saved(PICTURE, "PNG"), Shows()),
    "jpeg called png": Case(jpeg, LOSSY, "a.png"),
}

AVIFS: dict[str, Case] = {
    "avif": Case(lambda: saved(PICTURE, "AVIF", quality=95), Shows(tolerance=20), "a.avif"),
    "avif with alpha": Case(lambda: saved(RGBA, "AVIF", quality=100), Shows(ON_WHITE, tolerance=20), "a.avif"),
    "avif cut": Case(lambda: saved(PICTURE, "AVIF")[:-40], Refused("cannot be decoded"), "a.avif"),
}

IMAGES: dict[str, Case] = PNGS | JPEGS | OTHERS | DEPTHS | (AVIFS if features.check("avif") else {})
