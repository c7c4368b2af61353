"""Which kinds of picture can be read here, and what the others are called."""

from __future__ import annotations

import functools
import importlib
import os

from numpy.lib import format as npy
from PIL import Image

EXTENSIONS = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm"}
    | {".avif", ".jp2"}
)
ARRAY_EXTENSIONS = frozenset({".npy", ".dcm", ".dicom"})
"""Of pictures that are read where dataset.channels says how many channels they have."""
HEIC_EXTENSIONS = frozenset({".heic", ".heif", ".hif"})
CHANNELS_HINT = "dataset.channels=<how many it has> reads it"
HEIC_HINT = "pip install 'transfer-run[heic]' reads HEIC"

# A short list on purpose: some of Pillow's other readers start programs (EPS runs Ghostscript).
_FORMATS = ("JPEG", "MPO", "PNG", "BMP", "GIF", "WEBP", "TIFF", "PPM", "AVIF", "JPEG2000")
_HEIF = "HEIF"
_HEIC_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"}
_AVIF_BRANDS = {b"avif", b"avis"}
NUMPY = npy.MAGIC_PREFIX
TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
"""How files of these kinds begin."""
_UNREAD = {
    b"\xff\x0a": "JPEG XL",
    b"\0\0\0\x0cJXL ": "JPEG XL",
    b"8BPS": "Photoshop",
    b"%PDF": "PDF",
    b"\0\0\1\0": "icon",
    b"DDS ": "DDS",
    b"SIMPLE  =": "FITS",
    b"\x89HDF": "HDF5",
    b"#?RADIANCE": "Radiance",
    b"v/1\x01": "OpenEXR",
}


@functools.cache
def heif_version() -> str | None:
    """The version of the package that reads HEIC, now known to Pillow; None where it is not installed."""
    try:
        package = importlib.import_module("pillow_heif")
    except ImportError:
        return None
    package.register_heif_opener()
    return str(package.__version__)


def formats() -> list[str]:
    """The formats that this build of Pillow, and what is installed beside it, can read and may."""
    Image.init()
    names = _FORMATS if heif_version() is None else (*_FORMATS, _HEIF)
    return [name for name in names if name in Image.OPEN]


def is_image(name: str) -> bool:
    """Whether a file's name ends as that of an image that can be read."""
    ending = os.path.splitext(name)[1].lower()
    return ending in EXTENSIONS or (is_heic(name) and heif_version() is not None)


def is_array(name: str) -> bool:
    """Whether a file's name ends as that of a NumPy array or a DICOM file, read only where channels are asked for."""
    return os.path.splitext(name)[1].lower() in ARRAY_EXTENSIONS


def is_array_head(head: bytes) -> bool:
    """Whether the first bytes of a file are those of a NumPy array or a DICOM file."""
    return head.startswith(NUMPY) or is_dicom_head(head)


def is_dicom_head(head: bytes) -> bool:
    """Whether the first bytes of a file, 132 or more, are those of a DICOM file."""
    return head[128:132] == b"DICM"


def is_heic(name: str) -> bool:
    """Whether a file's name ends as that of a HEIC picture."""
    return os.path.splitext(name)[1].lower() in HEIC_EXTENSIONS


def name_of(head: bytes) -> str:
    """What a file that is not read is, by its first bytes, and what helps; "" where it is of no known kind."""
    brands = {head[at : at + 4] for at in (8, *range(16, 64, 4))} if head[4:8] == b"ftyp" else set()
    if _AVIF_BRANDS & brands:
        return "an AVIF picture; Pillow reads them from version 11.3 on"
    if _HEIC_BRANDS & brands:
        return f"a HEIC picture; {HEIC_HINT}"
    if head.startswith(NUMPY):
        return f"a NumPy array; {CHANNELS_HINT}"
    if head.startswith(TIFF):
        return f"a TIFF file of a kind that is not read as RGB; {CHANNELS_HINT}"
    known = next((name for start, name in _UNREAD.items() if head.startswith(start)), None)
    if known is None and is_dicom_head(head):
        return "a DICOM file; dataset.channels=1 reads it"
    return "" if known is None else f"a {known} file, which is not read; convert it to PNG, TIFF or JPEG"
