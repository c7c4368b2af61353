import io
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.data import pictures
from transfer_cli.data.reading import large
from transfer_cli.data.reading.decode import DecodeError, open_image
from transfer_cli.data.reading.levels import DARK, OWN_RANGE, USED_BITS
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


def test_pixel_cap_is_read_from_the_header(tmp_path: Path) -> None:
    """A header alone: decoding is never tried."""
    file = tmp_path / "huge.ppm"
    file.write_bytes(b"P6 20000 20000 255\n")
    with pytest.raises(DecodeError, match=r"huge\.ppm.*178956970 \(dataset\.max_pixels\)"):
        open_image(file)
    with pytest.raises(DecodeError, match=r"above the cap of 100 \(dataset\.max_pixels\)"):
        open_image(jpeg(), max_pixels=100)


@pytest.fixture
def small_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Images of more than 1,000 pixels are reduced, 12 rows at a time."""
    monkeypatch.setattr(large, "MAX_PIXELS", 1000)
    monkeypatch.setattr(large, "_STRIP_PIXELS", 1000)


@pytest.mark.usefixtures("small_is_large")
@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "L", "P", "1", "CMYK", "I;16", "F"])
def test_a_large_image_is_the_mean_of_its_pixels_in_every_mode(mode: str) -> None:
    """81 x 77 pixels, of which 3 x 3 become one; the odd ones at the edges are a mean of fewer."""
    random = np.random.default_rng(0)
    levels = random.integers(0, 256, (77, 81, 4), dtype=np.uint8)
    image = {
        "I;16": lambda: Image.fromarray(levels[..., 0].astype(np.uint16) * 257),
        "F": lambda: Image.fromarray((levels[..., 0] / 51).astype(np.float32)),
        "LA": lambda: Image.fromarray(levels[..., :2].copy(), "LA"),
    }.get(mode, lambda: Image.fromarray(levels).convert("RGB").convert(mode))()
    file = io.BytesIO()
    image.save(file, "TIFF" if mode in ("CMYK", "F") else "PNG")
    found = open_image(file.getvalue())
    large.MAX_PIXELS = 10**6  # the fixture puts it back
    assert found.size == (27, 26)
    assert np.array_equal(np.array(found), np.array(open_image(file.getvalue()).reduce(3)))


@pytest.mark.usefixtures("small_is_large")
def test_a_large_jpeg_is_decoded_smaller_and_turned(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.tile(COLOURS, (4, 5, 1))).save(tmp_path / "a.jpg", exif=exif, quality=95)
    found = open_image(tmp_path / "a.jpg")
    assert found.width * found.height <= 1000
    assert found.width < found.height


@pytest.mark.slow
def test_a_picture_of_600_million_pixels_takes_a_byte_each_and_little_more() -> None:
    """As a process of its own: the peak of this one has other reasons."""
    script = """
import io, resource, zlib, struct
from PIL import Image
from transfer_cli.data.reading.decode import open_image
def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
packer = zlib.compressobj(1)
data = b"".join(packer.compress(bytes(1 + 2624)) for _ in range(29700)) + packer.flush()
png = b"\\x89PNG\\r\\n\\x1a\\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 20990, 29700, 1, 0, 0, 0, 0))
png += chunk(b"IDAT", data) + chunk(b"IEND", b"")
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
image = open_image(png, max_pixels=10**9)
assert image.size == (10495, 14850), image.size
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert int(ended.stdout) < 1700  # MiB: 595 of the picture, 595 of the result, strips


def test_what_the_file_leaves_open_is_said() -> None:
    said: list[str] = []
    for values in (RAMP.astype(np.uint16) * 16, RAMP.astype(np.uint16) * 256, (RAMP / 60).astype(np.float32)):
        file = io.BytesIO()
        Image.fromarray(values).save(file, "TIFF")
        open_image(file.getvalue(), remark=said.append)
    assert said == [USED_BITS, OWN_RANGE]


def test_a_png_of_12_bits_in_16_is_said_to_be_dark() -> None:
    """PNG means the full range, so that its levels stay as they are."""
    said: list[str] = []
    for factor in (15, 257, 0):
        data = _bytes(Image.fromarray(RAMP.astype(np.uint16) * factor))
        assert np.array_equal(np.array(open_image(data, remark=said.append))[..., 0], RAMP.astype(int) * factor >> 8)
    assert said == [DARK]


def test_colours_of_12_bits_in_16_are_said_to_be_dark() -> None:
    said: list[str] = []
    for factor in (15, 257):
        values = COLOURS.astype("<u2") * factor
        open_image(pictures.tiff(values[:16, :24].tobytes(), 16, 3, 1), remark=said.append)
    assert said == [DARK]


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
