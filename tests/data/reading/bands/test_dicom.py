"""DICOM files as a viewer shows them, which pydicom's own functions tell."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.pixels import apply_modality_lut, apply_voi_lut
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from transfer_cli.data.reading.bands.open import open_picture
from transfer_cli.data.reading.decode import DecodeError

RAMP = np.arange(400, dtype=np.uint16).reshape(20, 20) * 10
WINDOW = {"WindowCenter": "2000", "WindowWidth": "1000"}


def dicom(values: NDArray[Any], **tags: Any) -> bytes:
    """A file of 12 bits in 16, or as `tags` say."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.7"
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    file = FileDataset("x", {}, file_meta=meta, preamble=bytes(128))
    file.SOPClassUID, file.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    file.Rows, file.Columns = values.shape[-2:]
    usual = {"SamplesPerPixel": 1, "PhotometricInterpretation": "MONOCHROME2", "BitsAllocated": 16, "BitsStored": 12}
    for name, value in {**usual, "HighBit": 11, "PixelRepresentation": 0, **tags}.items():
        setattr(file, name, value)
    file.PixelData = values.tobytes()
    out = io.BytesIO()
    file.save_as(out, enforce_file_format=True)
    return out.getvalue()


def read(data: bytes) -> NDArray[np.uint8]:
    return np.asarray(open_picture(data, channels=1, name="x.dcm"))[..., 0]


@pytest.mark.parametrize("kind", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
def test_windows_are_those_of_pydicom(kind: str) -> None:
    data = dicom(RAMP, **WINDOW, VOILUTFunction=kind)
    file = pydicom.dcmread(io.BytesIO(data))
    wanted = np.rint(apply_voi_lut(file.pixel_array, file) / 4095 * 255)
    assert np.array_equal(read(data), wanted)


def test_values_are_rescaled_before_the_window() -> None:
    tags = {"PixelRepresentation": 1, "BitsStored": 16, "HighBit": 15, "RescaleSlope": "2", "RescaleIntercept": "-24"}
    data = dicom(RAMP.astype(np.int16) - 1000, **tags, WindowCenter="40", WindowWidth="400")
    file = pydicom.dcmread(io.BytesIO(data))
    shown = apply_voi_lut(apply_modality_lut(file.pixel_array, file), file)
    low, high = -(2**15) * 2 - 24, (2**15 - 1) * 2 - 24
    assert np.array_equal(read(data), np.rint((shown - low) / (high - low) * 255))


def test_without_a_window_the_stored_bits_are_the_range() -> None:
    plain = read(dicom(RAMP))
    assert np.array_equal(plain, np.rint(RAMP / 4095 * 255))
    for width in ("1", "0", "-5"):  # no window: nothing lies in it
        assert np.array_equal(plain, read(dicom(RAMP, WindowCenter="2000", WindowWidth=width)))
    inverted = read(dicom(RAMP, PhotometricInterpretation="MONOCHROME1"))
    assert np.array_equal(inverted, np.rint((1 - RAMP / 4095) * 255))


def test_the_first_of_several_frames_is_shown_and_said() -> None:
    said: list[str] = []
    data = dicom(np.stack([RAMP, 0 * RAMP]), NumberOfFrames=2)
    assert np.array_equal(np.asarray(open_picture(data, channels=1, remark=said.append))[..., 0], read(dicom(RAMP)))
    assert said == ["of several frames the first is shown"]


def test_what_is_no_grey_picture_is_refused(tmp_path: Path) -> None:
    colours = {"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB", "PlanarConfiguration": 1}
    data = dicom(np.zeros((3, 20, 20), np.uint8), **colours, BitsAllocated=8, BitsStored=8, HighBit=7)
    whole = dicom(RAMP)
    cases = [(data, 1, "has 3 channels"), (data, 3, "in colour"), (whole, 4, "has 1 channel,")]
    cases += [(whole[:-300], 1, "cannot be decoded"), (whole[:150], 1, "cannot be decoded")]
    for content, channels, reason in cases:
        with pytest.raises(DecodeError, match=reason):
            open_picture(content, channels=channels, name="x.dcm")
