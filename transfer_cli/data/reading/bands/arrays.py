"""NumPy arrays as pictures. Only numbers are read: what would have to be unpickled is refused."""

from __future__ import annotations

import io
import math
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from transfer_cli.data.reading.bands.counted import Asked

ZIP = b"PK\x03\x04"


def read(data: bytes, asked: Asked) -> NDArray[Any]:
    """Numbers [H, W, C] of an .npy file. Raises DecodeError for one that holds no picture of so many channels."""
    file = io.BytesIO(data)
    try:
        version = npy.read_magic(file)
        header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, fortran, dtype = header(file)
    except ValueError:
        raise asked.fail("its header is damaged, or it holds no numbers") from None
    if dtype.hasobject:
        raise asked.fail("holds Python objects, which are not loaded; save an array of numbers")
    if dtype.kind not in "buif":
        raise asked.fail(f"an array of {dtype}, where whole numbers or fractions are expected")
    count = math.prod(shape)
    left = len(data) - file.tell()
    if count * dtype.itemsize > left:
        raise asked.fail(f"cut short: {_bytes(left)} of {_bytes(count * dtype.itemsize)} are there")
    if count == 0:
        raise asked.fail("has no pixels")
    flat = np.frombuffer(data, dtype, count, file.tell())
    values = flat.reshape(shape[::-1]).T if fortran else flat.reshape(shape)
    values = asked.channels_last(values)
    asked.check_size(values.shape[1], values.shape[0], values.shape[2])
    # In this machine's order of bytes.
    return values.astype(dtype.newbyteorder("="), copy=False)


def _bytes(count: int) -> str:
    return f"{count:,} bytes"
