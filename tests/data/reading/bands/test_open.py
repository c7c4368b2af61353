"""Files of any number of channels, whatever they are kept in, give the same picture or one message that names them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image

from transfer_cli.data.reading import large
from transfer_cli.data.reading.bands.open import open_picture, taken_from
from transfer_cli.data.reading.decode import DecodeError, open_image
from transfer_cli.data.reading.levels import LOW, NOT_FINITE
from transfer_cli.errors import UserError

FOUR = np.random.default_rng(0).integers(0, 256, (20, 24, 4), dtype=np.uint8)
FOUR[0, 0] = 0
FOUR[0, 1] = 255
"""[H, W, C] with the full range, which tells how many bits others use."""
GREY = FOUR[..., 0]


def read(path: Path, channels: int | None, said: list[str] | None = None) -> NDArray[np.uint8]:
    return np.asarray(open_picture(path, channels=channels, remark=(said if said is not None else []).append))


ARRAYS: dict[str, NDArray[Any]] = {
    "rows": FOUR,
    "planes": np.moveaxis(FOUR, 2, 0),
    "fortran": np.asfortranarray(FOUR),
    "shares": (FOUR / 255).astype(np.float32),
    "floats of bytes": FOUR.astype(np.float64),
    "16 bits": FOUR.astype(np.uint16) * 257,
    "big-endian": (FOUR.astype(np.uint16) * 257).astype(">u2"),
    "12 bits": FOUR.astype(np.uint16) * 16,
    "signed": FOUR.astype(np.int32) * 257,
    "long": FOUR.astype(np.int64),
}


@pytest.mark.parametrize("kind", ARRAYS)
def test_arrays_of_every_kind_are_the_same_picture(kind: str, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", ARRAYS[kind])
    assert np.array_equal(read(tmp_path / "x.npy", 4), FOUR)


def test_scales_are_those_of_greys_and_said(tmp_path: Path) -> None:
    deep = GREY.astype(np.uint16) * 16
    np.save(tmp_path / "x.npy", deep)
    Image.fromarray(deep).save(tmp_path / "x.tif")
    said: list[str] = []
    found, as_rgb = read(tmp_path / "x.npy", 1, said), np.asarray(open_image(tmp_path / "x.tif", remark=said.append))
    assert np.array_equal(found[..., 0], as_rgb[..., 0])
    assert len(said) == 2 and said[0] == said[1]


TIFFS: dict[str, tuple[NDArray[Any], dict[str, Any]]] = {
    "unmarked": (FOUR, {"photometric": "rgb", "extrasamples": ["unspecified"]}),
    "alpha": (FOUR, {"photometric": "rgb", "extrasamples": ["unassalpha"]}),
    "premultiplied": (FOUR, {"photometric": "rgb", "extrasamples": ["assocalpha"]}),
    "planar": (np.moveaxis(FOUR, 2, 0), {"photometric": "rgb", "planarconfig": "separate"}),
    "pages": (np.moveaxis(FOUR, 2, 0), {"photometric": "minisblack"}),
    "16 bits": (FOUR.astype(np.uint16) * 257, {"photometric": "rgb", "extrasamples": ["unspecified"]}),
    "big-endian": (FOUR, {"photometric": "rgb", "extrasamples": ["unspecified"], "byteorder": ">"}),
    "floats": ((FOUR / 255).astype(np.float32), {"photometric": "minisblack", "planarconfig": "contig"}),
    "bigtiff": (FOUR, {"photometric": "rgb", "extrasamples": ["unspecified"], "bigtiff": True}),
}


@pytest.mark.parametrize("kind", TIFFS)
def test_tiff_files_of_every_layout_are_the_same_picture(kind: str, tmp_path: Path) -> None:
    values, how = TIFFS[kind]
    tifffile.imwrite(tmp_path / "x.tif", values, **how)
    assert np.array_equal(read(tmp_path / "x.tif", 4), FOUR)


def test_more_bands_than_pillow_reads_are_read_and_turned(tmp_path: Path) -> None:
    six = np.concatenate([FOUR, FOUR[..., :2] // 2], axis=2)
    turned = [(274, 3, 1, 6, True)]
    planes, how = np.moveaxis(six, 2, 0), {"photometric": "minisblack", "planarconfig": "separate"}
    tifffile.imwrite(tmp_path / "x.tif", planes, extratags=turned, **how)
    assert np.array_equal(read(tmp_path / "x.tif", 6), np.rot90(six, -1))
    with pytest.raises(DecodeError, match=r"has 6 channels, not 4 channels \(dataset\.channels=4\)"):
        read(tmp_path / "x.tif", 4)
    with pytest.raises(DecodeError, match=r"dataset\.channels=<how many it has> reads it"):
        read(tmp_path / "x.tif", None)


def test_a_fourth_band_does_not_go_without_a_word(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "x.tif", FOUR, photometric="rgb", extrasamples=["unspecified"])
    said: list[str] = []
    assert np.array_equal(read(tmp_path / "x.tif", None, said), FOUR[..., :3])
    assert said == ["of 4 channels 3 are shown; dataset.channels=4 reads all of them"]


def test_what_pillow_reads_has_the_channels_of_the_file(tmp_path: Path) -> None:
    pictures = {1: Image.fromarray(GREY), 3: Image.fromarray(FOUR[..., :3]), 4: Image.fromarray(FOUR)}
    pictures[2] = Image.merge("LA", [Image.fromarray(FOUR[..., 0]), Image.fromarray(FOUR[..., 1])])
    for count, picture in pictures.items():
        picture.save(tmp_path / f"{count}.png")
        assert np.array_equal(read(tmp_path / f"{count}.png", count), FOUR[..., :count])
        for other in {*pictures} - {count}:
            with pytest.raises(DecodeError, match=f"has {count} channels?, not {other} channel"):
                read(tmp_path / f"{count}.png", other)


def test_one_channel_is_the_grey_of_today(tmp_path: Path) -> None:
    Image.fromarray(GREY.astype(np.uint16) * 257).save(tmp_path / "deep.png")
    Image.fromarray(GREY).save(tmp_path / "x.jpg")
    for name in ("deep.png", "x.jpg"):
        assert np.array_equal(read(tmp_path / name, 1)[..., 0], read(tmp_path / name, None)[..., 0])


REFUSED: dict[str, tuple[Any, str]] = {
    "flat": (GREY, "has 1 channel, not 4 channels"),
    "three": (FOUR[..., :3], "has the shape 20 x 24 x 3, not 4 channels"),
    "volume": (FOUR[None], "has the shape 1 x 20 x 24 x 4"),
    "scalar": (np.float32(1), "a single number"),
    "empty": (FOUR[:0], "has no pixels"),
    "complex": (FOUR.astype(complex), "complex128"),
    "text": (np.array(["a"]), "<U1"),
    "objects": (np.array([{}], dtype=object), "Python objects, which are not loaded"),
    "records": (np.zeros(3, [("a", "i4")]), "where whole numbers or fractions are expected"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_arrays_that_are_no_such_picture_are_refused(kind: str, tmp_path: Path) -> None:
    value, reason = REFUSED[kind]
    np.save(tmp_path / "x.npy", value)
    with pytest.raises(DecodeError, match=reason) as error:
        read(tmp_path / "x.npy", 4)
    assert "x.npy" in str(error.value)


def test_damaged_and_foreign_files_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", FOUR)
    whole = (tmp_path / "x.npy").read_bytes()
    np.savez(tmp_path / "z.npz", FOUR)
    claims = whole.replace(b"(20, 24, 4), }          ", b"(200000000, 24, 4), }   ")
    assert len(claims) == len(whole) and claims != whole
    tifffile.imwrite(tmp_path / "x.tif", FOUR, photometric="rgb", extrasamples=["unspecified"])
    cases = {
        "cut short: 1,820 bytes of 1,920": whole[:-100],
        "its header is damaged": whole[:20],
        "of 19,200,000,000 bytes": claims,
        "save the picture as .npy": (tmp_path / "z.npz").read_bytes(),
        "the file is empty": b"",
        "not an image, or not of a known format": b"hello" * 9,
        "failed to read": (tmp_path / "x.tif").read_bytes()[:-500],
    }
    for reason, data in cases.items():
        with pytest.raises(DecodeError, match=reason):
            open_picture(data, channels=4, name="x")


@pytest.mark.parametrize("channels", [None, 3])
def test_what_is_no_path_is_refused(channels: int | None) -> None:
    with pytest.raises(DecodeError, match=r"^a.b\.png: not a path\.$"):
        open_picture("a\0b.png", channels=channels)


def test_both_axes_as_long_as_the_channels_is_said(tmp_path: Path) -> None:
    values = np.arange(4 * 9 * 4, dtype=np.uint8).reshape(4, 9, 4)
    np.save(tmp_path / "x.npy", values)
    said: list[str] = []
    assert np.array_equal(read(tmp_path / "x.npy", 4, said), values)
    assert said == ["first and last axis are both as long as there are channels: the last one is taken for these"]


def test_the_cap_of_pixels_holds(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", FOUR)
    with pytest.raises(DecodeError, match=r"24 x 20 pixels of 4 channels, above the cap of 479"):
        open_picture(tmp_path / "x.npy", channels=4, max_pixels=479)
    assert open_picture(tmp_path / "x.npy", channels=4, max_pixels=480).size == (24, 20)
    np.save(tmp_path / "x.npy", np.concatenate([FOUR, FOUR], axis=2))
    with pytest.raises(DecodeError, match="pixels of 8 channels, above the cap of 480 of 4"):
        open_picture(tmp_path / "x.npy", channels=8, max_pixels=480)


def test_a_large_picture_is_reduced_channel_by_channel(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(large, "MAX_PIXELS", 120)  # of 480: every two by two pixels become one
    np.save(tmp_path / "x.npy", FOUR)
    found = read(tmp_path / "x.npy", 4)
    assert found.shape == (10, 12, 4)
    for channel in range(4):
        assert np.array_equal(found[..., channel], Image.fromarray(FOUR[..., channel]).reduce(2))


def test_a_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values, how = TIFFS["planar"]
    tifffile.imwrite(tmp_path / "x.tif", values, **how)
    monkeypatch.setitem(sys.modules, "tifffile", None)
    with pytest.raises(UserError, match=r"pip install 'transfer-run\[tiff\]'"):
        read(tmp_path / "x.tif", 4)


def test_images_in_memory_are_taken_for_grey_only_where_they_are() -> None:
    grey, colour = Image.fromarray(GREY).convert("RGB"), Image.fromarray(FOUR[..., :3])
    assert np.array_equal(np.asarray(taken_from(grey, 1, "x"))[..., 0], GREY)
    assert np.array_equal(np.asarray(taken_from(colour, 3, "x")), FOUR[..., :3])
    for picture, channels in ((colour, 1), (grey, 4)):
        with pytest.raises(DecodeError, match="has 3 channels"):
            taken_from(picture, channels, "x")


def test_what_becomes_dark_or_is_no_number_is_said(tmp_path: Path) -> None:
    said: list[str] = []
    np.save(tmp_path / "deep.npy", np.linspace(0, 10_000, 48).reshape(3, 4, 4).astype(np.uint16))
    read(tmp_path / "deep.npy", 4, said)
    np.save(tmp_path / "gaps.npy", np.where(np.arange(48).reshape(3, 4, 4) % 7, 0.5, np.nan).astype(np.float32))
    assert read(tmp_path / "gaps.npy", 4, said)[0, 0, 0] == 0
    np.save(tmp_path / "full.npy", np.linspace(0, 65_535, 48).reshape(3, 4, 4).astype(np.uint16))
    read(tmp_path / "full.npy", 4, said)
    assert said == [LOW, NOT_FINITE]
