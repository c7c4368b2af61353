"""How images are shown is said in every run, and a cap on their pixels holds for what earlier runs have decoded."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.data.loading import load
from transfer_cli.cache.entries import Cache
from transfer_cli.data.joined import join
from transfer_cli.data.reading.decode import DecodeError
from transfer_cli.data.reading.image_set import ImageSet
from transfer_cli.data.store import formats
from transfer_cli.data.store.formats import PixelRequest
from transfer_cli.data.store.open import DecodedSet, StoreOptions, open_store
from transfer_cli.errors import UserError
from transfer_cli.models.preprocessing import Preprocessing
from transfer_cli.records.terminal import Reporter

MakeImages = Callable[..., list[Path]]


@pytest.fixture
def folder(tmp_path: Path, make_images: MakeImages) -> Path:
    """Two classes of five PNG of 320 pixels, and in one of them two TIFF of 12 bits of 100."""
    for name in "ab":
        make_images(tmp_path / "set" / name, 5)
    for name in ("x.tif", "y.tif"):
        Image.fromarray(np.full((10, 10), 4000, np.uint16)).save(tmp_path / "set" / "a" / name)
    return tmp_path / "set"


def opened(
    images: ImageSet, preprocessing: Preprocessing, cache: Path, where: str = "disk", on_bad: str = "error"
) -> DecodedSet:
    every = np.unique(np.concatenate([*images.splits.values()]))
    request = PixelRequest(formats.evaluation(preprocessing), every)
    return open_store(images, [request], StoreOptions(where, on_bad), Cache(cache, 10**12), Reporter(quiet=True))


@pytest.mark.parametrize("where", ["disk", "stream"])
def test_how_images_are_shown_is_said_in_every_run(
    tmp_path: Path, folder: Path, preprocessing: Preprocessing, where: str
) -> None:
    for _ in range(2):
        notes = opened(load("folder", folder), preprocessing, tmp_path / "cache", where).notes
        assert "2 images: 16-bit greys of which the highest bits are all 0" in notes[0]
        assert f"({folder}/a/x.tif, {folder}/a/y.tif)" in notes[0]


@pytest.mark.parametrize("where", ["disk", "stream"])
def test_a_cap_holds_for_what_earlier_runs_have_decoded(
    tmp_path: Path, folder: Path, preprocessing: Preprocessing, where: str
) -> None:
    cache = tmp_path / "cache"
    assert not opened(load("folder", folder), preprocessing, cache, where).skipped
    capped = load("folder", folder, max_pixels=200)
    with pytest.raises(
        UserError, match=r"10 images cannot be decoded:(.|\n)*above the cap of 200 \(dataset.max_pixels\)"
    ):
        opened(capped, preprocessing, cache, where)
    assert not opened(load("folder", folder, max_pixels=400), preprocessing, cache, where).skipped
    with pytest.raises(DecodeError, match="above the cap of 200"):
        capped.read(0)


def test_a_cap_holds_for_images_that_join_without_labels(folder: Path, tmp_path: Path, make_images: MakeImages) -> None:
    make_images(tmp_path / "more", 1, size=(40, 40))
    joined = join(load("folder", folder, max_pixels=400), str(tmp_path / "more"))
    assert joined.read(0).size == (20, 16)
    with pytest.raises(DecodeError, match=r"more/0\.png: 40 x 40 pixels, above the cap of 400"):
        joined.read(12)


def test_a_cap_on_what_is_in_memory_is_said_to_be_ignored() -> None:
    images = load("fake", max_pixels=4)
    assert "dataset.max_pixels=4 is ignored: fake has no files to decode." in images.notes
    assert images.read(0).width > 2
