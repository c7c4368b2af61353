import io
import os
import pickle
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from transfer_cli.data.reading import decode
from transfer_cli.data.reading.decode import DecodeError, open_image
from transfer_cli.data.reading.listing import ImageFiles

RAMP = np.tile(np.linspace(0, 255, 32).astype(np.uint8), (24, 1))
COLOURS = np.stack([RAMP, 255 - RAMP, np.full_like(RAMP, 100)], axis=2)


def pixels(image: Image.Image, suffix: str, **options: object) -> np.ndarray:
    """What `open_image` makes of `image` saved in a format."""
    file = io.BytesIO()
    image.save(file, suffix, **options)
    opened = open_image(file.getvalue())
    assert opened.mode == "RGB"
    return np.array(opened).astype(int)


@pytest.mark.parametrize("suffix", ["PNG", "BMP", "TIFF", "PPM"])
def test_rgb_is_exact(suffix: str) -> None:
    assert np.array_equal(pixels(Image.fromarray(COLOURS), suffix), COLOURS)


def test_grey_16_bit_keeps_its_high_byte() -> None:
    deep = Image.fromarray(RAMP.astype(np.uint16) * 256 + 77)
    for suffix in ("PNG", "TIFF"):
        assert np.array_equal(pixels(deep, suffix)[..., 1], RAMP)


def test_float_grey_between_0_and_1() -> None:
    assert np.abs(pixels(Image.fromarray((RAMP / 255).astype(np.float32)), "TIFF")[..., 2] - RAMP).max() <= 1


def test_one_bit() -> None:
    black_white = Image.fromarray(RAMP > 127)
    assert np.array_equal(pixels(black_white, "PNG")[..., 0], np.where(RAMP > 127, 255, 0))


def test_palette() -> None:
    palette = Image.fromarray(COLOURS).quantize(64)
    assert np.array_equal(pixels(palette, "PNG"), np.array(palette.convert("RGB")))


def test_transparency_shows_white() -> None:
    alpha = np.full_like(RAMP, 255)
    alpha[:12] = 0
    assert_white_above(pixels(Image.fromarray(np.dstack([COLOURS, alpha])), "PNG"))
    assert_white_above(pixels(Image.fromarray(np.dstack([COLOURS, alpha])), "WEBP", lossless=True))


def test_transparent_palette_entry_shows_white() -> None:
    indices = np.ones((24, 32), dtype=np.uint8)
    indices[:12] = 0
    palette = Image.frombytes("P", (32, 24), indices.tobytes())
    palette.putpalette([255, 0, 0, 0, 0, 255])
    for suffix in ("PNG", "GIF"):
        shown = pixels(palette, suffix, transparency=0)
        assert_white_above(shown)
        assert shown[20, 3].tolist() == [0, 0, 255]


def assert_white_above(shown: np.ndarray) -> None:
    assert (shown[:12] == 255).all()
    assert not (shown[12:] == 255).all()


def test_cmyk_jpeg() -> None:
    shown = pixels(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), "JPEG", quality=100)
    assert np.abs(shown[8, 8] - [255, 0, 0]).max() < 8


def test_animation_gives_its_first_frame() -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    for suffix in ("GIF", "WEBP"):
        options = {"lossless": True} if suffix == "WEBP" else {}
        shown = pixels(frames[0], suffix, save_all=True, append_images=frames[1:], **options)
        assert shown[4, 4].tolist() == [255, 0, 0]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_undone(orientation: int) -> None:
    """Each orientation tag says how the upright picture was turned when stored; EXIF 2.3, tag 0x0112."""
    upright = np.arange(6 * 4 * 3, dtype=np.uint8).reshape(6, 4, 3)
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright),
        7: np.rot90(upright, 2).transpose(1, 0, 2),
        8: np.rot90(upright, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert np.array_equal(pixels(Image.fromarray(np.ascontiguousarray(stored)), "PNG", exif=exif.tobytes()), upright)


def test_broken_exif_is_ignored() -> None:
    assert pixels(Image.fromarray(COLOURS), "JPEG", exif=b"Exif\0\0II*\0garbage").shape == COLOURS.shape


def test_extension_is_irrelevant(tmp_path: Path) -> None:
    Image.fromarray(COLOURS).save(tmp_path / "a.png")
    wrong = (tmp_path / "a.png").rename(tmp_path / "a.jpg")
    assert np.array_equal(np.array(open_image(wrong)), COLOURS)


def jpeg() -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(file, "JPEG")
    return file.getvalue()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty"),
        (b"hello, this is text", "not an image"),
        (jpeg()[:1500], "truncated"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n", "not an image"),
    ],
)
def test_what_is_no_image_is_named(tmp_path: Path, content: bytes, reason: str) -> None:
    file = tmp_path / "bad.jpg"
    file.write_bytes(content)
    with pytest.raises(DecodeError, match=rf"bad\.jpg.*{reason}"):
        open_image(file)


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DecodeError, match=r"gone\.jpg.*no such file"):
        open_image(tmp_path / "gone.jpg")


def test_pixel_cap_is_read_from_the_header(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A header alone: decoding is never tried."""
    file = tmp_path / "huge.ppm"
    file.write_bytes(b"P6 20000 20000 255\n")
    with pytest.raises(DecodeError, match=r"huge\.ppm.*178956970"):
        open_image(file)
    monkeypatch.setattr(decode, "MAX_PIXELS", 100)
    with pytest.raises(DecodeError, match="above the cap of 100"):
        open_image(jpeg())


def test_a_large_image_below_the_cap_raises_no_warning() -> None:
    """Pillow warns from 89 million pixels on; warnings are errors here."""
    assert open_image(_bytes(Image.new("1", (10_000, 9_000)))).size == (10_000, 9_000)


def _bytes(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize(
    "read", [open_image, lambda file: ImageFiles("", [str(file)]).encoded(0)], ids=["decode", "encoded"]
)
def test_a_pipe_is_not_waited_for(tmp_path: Path, read: Callable[[Path], object]) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    errors: list[Exception] = []

    def attempt() -> None:
        try:
            read(tmp_path / "pipe.jpg")
        except DecodeError as error:
            errors.append(error)

    thread = threading.Thread(target=attempt, daemon=True)
    thread.start()
    thread.join(10)
    assert [str(error) for error in errors] == [f"{tmp_path}/pipe.jpg: not a regular file."]


def test_a_huge_file_is_not_read_into_memory(tmp_path: Path) -> None:
    with (tmp_path / "huge.jpg").open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(DecodeError, match=r"huge\.jpg: 1,099,511,627,776 bytes, too large"):
        ImageFiles(str(tmp_path), ["huge.jpg"]).encoded(0)


def test_an_error_survives_the_way_between_processes() -> None:
    error = pickle.loads(pickle.dumps(DecodeError("a.jpg", "the file is empty")))
    assert (error.name, error.reason, str(error)) == ("a.jpg", "the file is empty", "a.jpg: the file is empty.")
