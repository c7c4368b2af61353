"""Whether decoded pixels fit: estimated from the headers of some files before the first is decoded."""

from __future__ import annotations

import io
import warnings

import numpy as np
from PIL import Image

from transfer_cli.cache.entries import Cache
from transfer_cli.cache.place import free_bytes
from transfer_cli.data.reading.image_set import ImageSet
from transfer_cli.data.reading.listing import Indices
from transfer_cli.data.store.formats import PixelRequest
from transfer_cli.data.store.packed import PackedPixels
from transfer_cli.errors import UserError
from transfer_cli.records.text import in_words

SAMPLED_FILES = 64
_INDEX_BYTES, _ENTRY_BYTES = 80, 2**14
"""What an entry takes besides pixels: for each sample, and for itself."""
SPARE_BYTES = 2**30
"""Left free on the disk, for the run's own files."""


def too_large(images: ImageSet, requests: list[PixelRequest], packed: list[PackedPixels], cache: Cache) -> str | None:
    """Why the pixels of all requests cannot be kept on disk, or None."""
    missing = sum(
        _estimate(images, request, pixels.missing()) for request, pixels in zip(requests, packed, strict=True)
    )
    if missing == 0:
        return None
    index = _INDEX_BYTES * sum(len(request.indices) for request in requests) + _ENTRY_BYTES
    total = missing + sum(pixels.bytes() for pixels in packed) + index
    if total > cache.max_bytes:
        return f"about {in_words(total)} would not fit into cache_size ({in_words(cache.max_bytes)})"
    free = free_bytes(cache.root)
    if missing + SPARE_BYTES > free:
        return f"about {in_words(missing)} would not fit on the disk of {cache.root} ({in_words(free)} free)"
    return None


def _estimate(images: ImageSet, request: PixelRequest, missing: Indices) -> int:
    """Bytes that `missing` samples will take in a format."""
    if len(missing) == 0:
        return 0
    rows = np.unique(np.linspace(0, len(missing) - 1, SAMPLED_FILES).astype(int))
    sizes = [size for index in missing[rows] if (size := _image_size(images, int(index))) is not None]
    values = (images.channels or 3) * len(missing)
    return round(values * float(np.mean([request.format.pixels_of(*size) for size in sizes]))) if sizes else 0


def _image_size(images: ImageSet, index: int) -> tuple[int, int] | None:
    """Width and height from an image's header; None where that cannot be read, which the first pass will tell."""
    try:
        if images.channels is not None:
            return images.read(index).size
        assert images.encoded is not None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(images.encoded.encoded(index))) as image:
                return image.size
    except Exception:
        return None


def check_ram(size: int) -> None:
    """Raises UserError if `size` bytes are more than this machine has to spare."""
    available = _available_ram()
    if available is not None and size > available:
        raise UserError(
            f"dataset.store=ram: {in_words(size)} do not fit, {in_words(available)} of memory are free. "
            "Set dataset.store=disk, which needs none and lets the system keep in memory what fits."
        )


def _available_ram() -> int | None:
    """Bytes that can be had without swapping; None where the system does not tell."""
    try:
        with open("/proc/meminfo", encoding="ascii") as lines:
            return next(1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration, ValueError):
        return None
