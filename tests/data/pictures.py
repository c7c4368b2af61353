"""A picture of four plain quarters, and writers of the image files that Pillow does not write."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageCms

Colour = tuple[int, int, int]

RED, GREEN, BLUE, YELLOW = (220, 30, 30), (30, 200, 60), (40, 60, 210), (230, 220, 40)
WHITE, BLACK = (255, 255, 255), (0, 0, 0)
CORNERS = (RED, GREEN, BLUE, YELLOW)
WIDTH, HEIGHT = 24, 16

PIXELS = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
PIXELS[:8, :12], PIXELS[:8, 12:], PIXELS[8:, :12], PIXELS[8:, 12:] = CORNERS
PICTURE = Image.fromarray(PIXELS)
LEVELS = np.zeros((HEIGHT, WIDTH), np.uint8)
LEVELS[:8, :12], LEVELS[:8, 12:], LEVELS[8:, :12], LEVELS[8:, 12:] = 0, 85, 170, 255
GREYS = ((0, 0, 0), (85, 85, 85), (170, 170, 170), (255, 255, 255))
ALPHA = np.full((HEIGHT, WIDTH), 255, np.uint8)
ALPHA[:8, :12] = 0
"""Transparent where PICTURE is red."""


def saved(image: Image.Image, format: str, **options: Any) -> bytes:
    """What Pillow writes."""
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    """A chunk of a PNG file."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(
    rows: Sequence[bytes],
    depth: int,
    colour: int,
    *extra: bytes,
    size: tuple[int, int] = (WIDTH, HEIGHT),
    data: bytes | None = None,
) -> bytes:
    """A PNG file of raw rows: depth in bits, colour 0 grey, 2 RGB, 3 palette, 4 grey and alpha, 6 RGBA."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", *size, depth, colour, 0, 0, 0))
    packed = zlib.compress(b"".join(b"\0" + row for row in rows)) if data is None else data
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(extra) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")


def rows_of(values: np.ndarray, bits: int = 8) -> list[bytes]:
    """Rows of a PNG from levels [H, W] or [H, W, C] in 0..2**bits - 1."""
    if bits == 16:
        return [row.astype(">u2").tobytes() for row in values]
    if bits == 8:
        return [row.astype(np.uint8).tobytes() for row in values]
    spread = (values[..., None] >> np.arange(bits - 1, -1, -1)) & 1
    return [np.packbits(row.reshape(-1)).tobytes() for row in spread]


def tiff(
    data: bytes,
    bits: int,
    samples: int,
    kind: int,
    *,
    inverted: bool = False,
    most: int | None = None,
    stated: tuple[float, float] | None = None,
) -> bytes:
    """An uncompressed little-endian TIFF of PICTURE's size; kind 1 is whole numbers, 2 signed ones, 3 floats.

    `most` is its MaxSampleValue, `stated` its SMinSampleValue and SMaxSampleValue.
    """
    colours = 2 if samples == 3 else 0 if inverted else 1
    entries = {256: WIDTH, 257: HEIGHT, 259: 1, 262: colours, 277: samples, 278: HEIGHT, 284: 1}
    entries |= {} if most is None else {281: most}
    tags = [(tag, 3, 1, struct.pack("<HH", value, 0)) for tag, value in entries.items()]
    tags += [(340 + at, 11, 1, struct.pack("<f", value)) for at, value in enumerate(stated or ())]
    end = 8 + 2 + 12 * (len(tags) + 4) + 4
    lists = struct.pack("<3H", *[bits] * 3) + struct.pack("<3H", *[kind] * 3)
    short = samples == 1
    tags += [
        (258, 3, samples, struct.pack("<HH", bits, 0) if short else struct.pack("<I", end)),
        (339, 3, samples, struct.pack("<HH", kind, 0) if short else struct.pack("<I", end + 6)),
        (273, 4, 1, struct.pack("<I", end + 12)),
        (279, 4, 1, struct.pack("<I", len(data))),
    ]
    body = b"".join(struct.pack("<HHI", tag, type_, count) + value for tag, type_, count, value in sorted(tags))
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + body + struct.pack("<I", 0) + lists + data


def exif(orientation: int) -> bytes:
    """EXIF that says how the picture was turned when stored."""
    table = Image.Exif()
    table[0x0112] = orientation
    return table.tobytes()


def turned(orientation: int) -> Image.Image:
    """PICTURE as a camera stores it under an orientation (EXIF 2.3, tag 0x0112)."""
    return Image.fromarray(
        np.ascontiguousarray(
            {
                1: PIXELS,
                2: PIXELS[:, ::-1],
                3: PIXELS[::-1, ::-1],
                4: PIXELS[::-1],
                5: PIXELS.transpose(1, 0, 2),
                6: np.rot90(PIXELS),
                7: np.rot90(PIXELS, 2).transpose(1, 0, 2),
                8: np.rot90(PIXELS, -1),
            }[orientation]
        )
    )


def jpeg(**options: Any) -> bytes:
    """PICTURE, hardly lossy."""
    return saved(PICTURE, "JPEG", quality=98, subsampling=0, **options)


def changed(data: bytes, at: int, new: bytes) -> bytes:
    """`data` with some bytes overwritten."""
    return data[:at] + new + data[at + len(new) :]


def noisy_jpeg() -> bytes:
    """A JPEG with enough data to cut and damage."""
    return saved(Image.fromarray(np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)), "JPEG")


def after_sof(data: bytes) -> int:
    """Where a JPEG's frame header begins: precision, height, width follow four bytes later."""
    return data.index(b"\xff\xc0")


def without_adobe(data: bytes) -> bytes:
    """A JPEG without Adobe's marker, which says that CMYK is inverted."""
    at = data.index(b"\xff\xee")
    return data[:at] + data[at + 2 + struct.unpack(">H", data[at + 2 : at + 4])[0] :]


def profile() -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def twelve_bits(values: np.ndarray) -> bytes:
    """Levels 0 to 4095 of an even number of columns, two in three bytes."""
    pairs = values.astype(int).reshape(-1, 2)
    return (
        np.stack([pairs[:, 0] >> 4, (pairs[:, 0] & 15) << 4 | pairs[:, 1] >> 8, pairs[:, 1] & 255], 1)
        .astype(np.uint8)
        .tobytes()
    )


def bmp_with_alpha(alpha: int) -> bytes:
    """A bitmap of 32 bits whose header says that the fourth byte is alpha."""
    pixels = np.dstack([PIXELS[..., ::-1], np.full((HEIGHT, WIDTH), alpha, np.uint8)])[::-1]
    header = struct.pack("<IiiHHIIiiII", 108, WIDTH, HEIGHT, 1, 32, 3, pixels.size, 0, 0, 0, 0)
    header += struct.pack("<IIII", 0xFF0000, 0xFF00, 0xFF, 0xFF000000) + bytes(52)
    return (
        b"BM" + struct.pack("<IHHI", 14 + len(header) + pixels.size, 0, 0, 14 + len(header)) + header + pixels.tobytes()
    )


def xmp(orientation: str) -> bytes:
    """An XMP packet with an orientation as an editor writes it: `tiff:Orientation='6'`."""
    return (
        b'<?xpacket begin="" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF '
        b'xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about="" '
        b'xmlns:tiff="http://ns.adobe.com/tiff/1.0/" ' + orientation.encode() + b"/></rdf:RDF></x:xmpmeta>"
    )


def floats(*corners: float) -> bytes:
    values = np.zeros((HEIGHT, WIDTH), np.float32)
    values[:8, :12], values[:8, 12:], values[8:, :12], values[8:, 12:] = corners
    return saved(Image.fromarray(values), "TIFF")


def frames(format: str, **options: Any) -> bytes:
    """An animation that begins with PICTURE."""
    second = Image.new(PICTURE.mode, PICTURE.size, "white")
    return saved(PICTURE, format, save_all=True, append_images=[second, second], **options)


def grey(level: int) -> Colour:
    return level, level, level
