"""DICOM files as grey pictures: rescaled, through their window, with black where the viewer has black."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray

from transfer_cli.data.reading.bands.counted import Asked
from transfer_cli.errors import first_line, one_line
from transfer_cli.extras import need


def read(data: bytes, asked: Asked) -> NDArray[np.uint8]:
    """Levels [H, W, 1], of several frames those of the first.

    From where to where they go is in the file: its first window (DICOM PS3.3 C.11.2.1.2), else the bits that are
    stored. Raises DecodeError for one without grey pixels, UserError where pydicom is not installed.
    """
    pydicom = need("pydicom", "dicom", f"{asked.shown}: a DICOM file")
    try:
        file = pydicom.dcmread(io.BytesIO(data))
        if "PixelData" not in file:
            raise ValueError("no pixels of whole numbers")
        asked.check_count(int(file.SamplesPerPixel))
        if asked.channels != 1:
            raise asked.fail("a DICOM file in colour, of which only grey ones are read; convert it to PNG or TIFF")
        asked.check_size(int(file.Columns), int(file.Rows), 1)
        stored = np.asarray(pydicom.pixels.pixel_array(file, index=0)) if _frames(file) > 1 else file.pixel_array
        shares = _shares(file, pydicom.pixels.apply_modality_lut(stored, file).astype(np.float64))
    except UnicodeDecodeError as error:
        raise asked.fail("its header is damaged") from error
    except (ValueError, AttributeError, TypeError, KeyError, RuntimeError, NotImplementedError, OSError) as error:
        raise asked.fail(f"cannot be decoded ({_reason(error)})") from error
    if file.get("PhotometricInterpretation") == "MONOCHROME1":
        shares = 1 - shares
    if _frames(file) > 1:
        asked.remark("of several frames the first is shown")
    levels: NDArray[np.uint8] = np.rint(np.clip(np.nan_to_num(shares), 0, 1) * 255).astype(np.uint8)[..., None]
    return levels


def _shares(file: Any, values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Values as shares of what is between black and white."""
    center, width = _first(file.get("WindowCenter")), _first(file.get("WindowWidth"))
    kind = file.get("VOILUTFunction", "LINEAR")
    if center is None or width is None or width <= (1 if kind == "LINEAR" else 0):
        low, high = _stored_range(file)
        return (values - low) / (high - low)
    if kind == "SIGMOID":
        return np.asarray(1 / (1 + np.exp(np.clip(-4 * (values - center) / width, -700, 700))))
    if kind == "LINEAR_EXACT":
        return (values - center) / width + 0.5
    return (values - (center - 0.5)) / (width - 1) + 0.5


def _stored_range(file: Any) -> tuple[float, float]:
    """What the stored bits can reach, rescaled."""
    bits, signed = int(file.BitsStored), bool(file.get("PixelRepresentation", 0))
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    slope, intercept = float(file.get("RescaleSlope", 1) or 1), float(file.get("RescaleIntercept", 0) or 0)
    ends = sorted((low * slope + intercept, high * slope + intercept))
    return ends[0], max(ends[1], ends[0] + 1)


def _first(value: Any) -> float | None:
    """The first of one or several numbers."""
    if value is None or value == "":
        return None
    return float(value if isinstance(value, int | float) else value[0])


def _frames(file: Any) -> int:
    return int(file.get("NumberOfFrames", 1) or 1)


def _reason(error: Exception) -> str:
    return one_line(first_line(error))
