"""mode=predict on a folder labels every picture that it labels alone, and says what it leaves out."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.conftest import TINY, Ended

Command = Callable[..., Ended]


@pytest.fixture
def run(command: Command) -> Path:
    assert command(*TINY, "trainer.epochs=1", "name=tiny").code == 0
    return Path("outputs/runs/tiny")


@pytest.fixture
def photos() -> Path:
    random = np.random.default_rng(0)
    Path("photos/sub").mkdir(parents=True)
    for name in ("a.png", "sub/b.png", "big.png"):
        side = 60 if name == "big.png" else 32
        Image.fromarray(random.integers(0, 256, (side, side, 3), dtype=np.uint8)).save(f"photos/{name}")
    Path("photos/sub/b.png").rename("photos/sub/b")
    Image.fromarray(np.full((32, 32), 4000, np.uint16)).save("photos/deep.tif")
    Path("photos/notes.txt").write_text("x")
    Path("photos/IMG.heic").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")
    return Path("photos")


def rows(file: str) -> dict[str, str]:
    with open(file) as table:
        return {row["path"]: row["probability"] for row in csv.DictReader(table)}


def test_a_folder_gives_what_each_file_gives_alone(command: Command, run: Path, photos: Path) -> None:
    words = ["mode=predict", f"run={run}", "trainer.device=cpu"]
    ended = command(*words, f"input={photos}", "output=all.csv")
    assert ended.code == 0, ended.err
    found = rows("all.csv")
    assert [*found] == [f"photos/{name}" for name in ("a.png", "big.png", "deep.tif", "sub/b")]
    said = ended.out + ended.err
    assert "left out: 1 (no image): notes.txt" in said
    assert "left out: 1 (a HEIC picture; pip install 'transfer-run[heic]' reads HEIC): IMG.heic" in said
    assert "photos/deep.tif: 16-bit greys of which the highest bits are all 0" in said
    assert "4 images predicted, 2 left out" in said
    for path, probability in found.items():
        assert command(*words, f"input={path}", "output=one.csv").code == 0
        assert rows("one.csv")[path][:6] == probability[:6]


def test_a_cap_on_pixels_is_read_and_its_key_named(command: Command, run: Path, photos: Path) -> None:
    words = ["mode=predict", f"run={run}", f"input={photos}", "trainer.device=cpu", "output=all.csv"]
    ended = command(*words, "dataset.max_pixels=2000", "dataset.val_fraction=0.3")
    said = ended.out + ended.err
    assert "big.png: 60 x 60 pixels, above the cap of 2000 (dataset.max_pixels)" in said
    assert "dataset.max_pixels=2000: has no effect" not in said
    assert "dataset.val_fraction=0.3: has no effect" in said
    assert "photos/big.png" not in rows("all.csv")


def test_a_folder_without_pictures_says_what_was_seen(command: Command, run: Path) -> None:
    Path("new").mkdir()
    Path("new/notes.txt").write_text("x")
    ended = command("mode=predict", f"run={run}", "input=new")
    assert ended.code == 2
    assert "no image files in this folder (1 (no image): notes.txt)" in ended.err
