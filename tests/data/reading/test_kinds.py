"""Pictures of kinds that not every installation reads are read where something does, and named where nothing does."""

from __future__ import annotations

import io
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PIL import Image, ImageFile

from tests.data.loading import load
from tests.data.pictures import PICTURE, saved
from transfer_cli.data.reading import kinds
from transfer_cli.data.reading.decode import DecodeError, open_image
from transfer_cli.data.sources.folder import pictures_below, scan
from transfer_cli.errors import UserError

MakeImages = Callable[..., list[Path]]
HEAD = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"
HEIC = HEAD + saved(PICTURE, "PNG")
AVIF = b"\0\0\0\x1cftypavif\0\0\0\0avifmif1miaf"


class _Heif(ImageFile.ImageFile):
    """Reads a PNG that follows the first box of a HEIC file."""

    format = "HEIF"

    def _open(self) -> None:
        assert self.fp is not None
        self.fp.seek(len(HEAD))
        self._png = Image.open(io.BytesIO(self.fp.read()))
        self._png.load()
        self._size, self._mode, self.info = self._png.size, "RGB", dict(self._png.info)

    def load(self) -> object:
        self.im = self._png.im
        return Image.Image.load(self)


@pytest.fixture(autouse=True)
def absent(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nothing that reads HEIC is installed, before and after."""
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    kinds.heif_version.cache_clear()
    yield
    kinds.heif_version.cache_clear()


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As if the extra were installed."""
    package = types.ModuleType("pillow_heif")
    package.__version__ = "1.0"  # type: ignore[attr-defined]
    package.register_heif_opener = (
        lambda: Image.register_open(  # type: ignore[attr-defined]
            "HEIF", _Heif, lambda prefix: prefix.startswith(HEAD[:12])
        )
    )
    monkeypatch.setitem(sys.modules, "pillow_heif", package)
    kinds.heif_version.cache_clear()
    yield
    Image.ID.remove("HEIF")
    del Image.OPEN["HEIF"]


@pytest.fixture
def photos(tmp_path: Path, make_images: MakeImages) -> Path:
    for name in "ab":
        make_images(tmp_path / "set" / name, 4)
        (tmp_path / "set" / name / "IMG_1.HEIC").write_bytes(HEIC)
    return tmp_path / "set"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (HEIC, "a HEIC picture; pip install 'transfer-run[heic]' reads HEIC"),
        (b"\xff\x0a\0\0", "a JPEG XL file, which is not read"),
        (b"8BPS\0\1", "a Photoshop file"),
        (b"%PDF-1.7", "a PDF file"),
        (bytes(128) + b"DICM", "a DICOM file"),
        (b"\0\0\0\x18ftypisom\0\0\0\0mp41", "not an image, or not of a known format"),
    ],
)
def test_what_is_not_read_is_named(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "a.png").write_bytes(content)
    for source in (tmp_path / "a.png", content):
        with pytest.raises(DecodeError) as caught:
            open_image(source)
        assert said in str(caught.value)


def test_avif_is_named_where_pillow_does_not_read_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kinds, "_FORMATS", ("PNG",))
    with pytest.raises(DecodeError, match=r"an AVIF picture; Pillow reads them from version 11\.3 on"):
        open_image(AVIF)


@pytest.mark.usefixtures("installed")
def test_heic_is_read_where_the_extra_is_installed(photos: Path) -> None:
    assert open_image(HEIC).tobytes() == PICTURE.tobytes()
    found = scan(photos, labelled=True)
    assert len(found.keys) == 10
    assert found.notes == ()
    assert found.read(found.keys.index("a/IMG_1.HEIC")).tobytes() == PICTURE.tobytes()


@pytest.mark.usefixtures("installed")
def test_heic_is_not_turned_twice() -> None:
    """What reads it turns it, and may leave what EXIF said of the picture as it was stored."""
    info = Image.Exif()
    info[0x0112] = 6
    assert open_image(HEAD + saved(PICTURE, "PNG", exif=info.tobytes())).size == PICTURE.size


def test_heic_in_class_folders_is_left_out_with_the_extra_named(photos: Path) -> None:
    found = scan(photos, labelled=True)
    assert len(found.keys) == 8
    assert (
        "2 HEIC picture(s) are ignored: a/IMG_1.HEIC, b/IMG_1.HEIC (pip install 'transfer-run[heic]'" in found.notes[0]
    )
    for file in (photos / "a").glob("*.png"):
        file.unlink()
    with pytest.raises(UserError, match=r"\(only IMG_1\.HEIC\)\. .*pip install 'transfer-run\[heic\]'"):
        scan(photos, labelled=True)


def test_what_was_refused_is_read_once_the_extra_is_there(
    tmp_path: Path, photos: Path, request: pytest.FixtureRequest
) -> None:
    (tmp_path / "list.csv").write_text("path,label\nset/a/IMG_1.HEIC,x\nset/a/0.png,y\n")
    images = load("manifest", tmp_path / "list.csv", val_fraction=0.2, train_fraction=1.0, labels="none")
    with pytest.raises(DecodeError, match="a HEIC picture"):
        images.read(0)
    request.getfixturevalue("installed")
    assert images.read(0).tobytes() == PICTURE.tobytes()


def test_pictures_are_told_by_their_content(tmp_path: Path, make_images: MakeImages) -> None:
    make_images(tmp_path, 1)
    (tmp_path / "sub").mkdir()
    for name in ("no_ending", "photo.dat", "sub/IMG.JPG.download", "png.heic"):
        (tmp_path / name).write_bytes((tmp_path / "0.png").read_bytes())
    (tmp_path / "broken.jpg").write_bytes(b"no picture")  # its name says that it is meant to be one
    (tmp_path / "IMG_2.heic").write_bytes(HEIC)
    (tmp_path / "moved").write_bytes(HEIC)
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / ".hidden.png").write_bytes((tmp_path / "0.png").read_bytes())
    (tmp_path / "dead.png").symlink_to("gone")
    (tmp_path / "thumbnails").mkdir()
    files, others = pictures_below(tmp_path)
    assert sorted(str(file.relative_to(tmp_path)) for file in files) == [
        "0.png",
        "broken.jpg",
        "no_ending",
        "photo.dat",
        "png.heic",
        "sub/IMG.JPG.download",
    ]
    assert others == {
        "hidden file": [".hidden.png"],
        "a HEIC picture; pip install 'transfer-run[heic]' reads HEIC": ["IMG_2.heic", "moved"],
        "dead link": ["dead.png"],
        "no image": ["notes.txt"],
        "system folder": ["thumbnails"],
    }
