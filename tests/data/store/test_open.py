"""Stores: the same pixels from each, decoded once, never stale."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.data.loading import load
from tests.data.store.opening import LARGE, STORES, Opening, assert_right, photos
from transfer_cli.cache.entries import Cache
from transfer_cli.data.store import firstpass, formats
from transfer_cli.data.store.formats import PixelRequest
from transfer_cli.data.store.open import StoreOptions, open_store
from transfer_cli.models.preprocessing import Preprocessing
from transfer_cli.records.terminal import Reporter


@pytest.mark.parametrize("where", STORES)
def test_pixels_are_those_of_decoding_now(
    folder: Path, opening: Opening, preprocessing: Preprocessing, where: str
) -> None:
    images = photos(folder)
    opened = opening(images, where)
    assert opened.store.where == where
    assert_right(opened, images, preprocessing)
    shuffled = np.random.default_rng(0).permutation(images.splits["val"])
    for index, pixels in zip(shuffled, opened.store.evaluation(shuffled), strict=True):
        assert np.array_equal(pixels, opened.store.evaluation(np.array([index]))[0])


@pytest.mark.parametrize("where", ["disk", "ram"])
def test_pixels_that_nobody_requested_are_no_other_images(folder: Path, opening: Opening, where: str) -> None:
    images = photos(folder)
    decoded = opening(images, where)
    unrequested = images.splits["train"][:1]
    with pytest.raises(AssertionError, match="requested"):
        decoded.store.batch(unrequested)


def test_rows_may_be_spread_over_many_chunks(
    folder: Path, opening: Opening, preprocessing: Preprocessing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(firstpass, "CHUNK_IMAGES", 7)
    images = photos(folder)
    opened = opening(images)
    assert len(opening.cache.entries()) == 7  # 24 training images in four, 16 others in three
    assert_right(opened, images, preprocessing)


def test_a_set_that_grows_file_by_file_stays_in_few_entries(
    folder: Path, opening: Opening, preprocessing: Preprocessing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(firstpass, "MOST_PACKS", 4)
    opening(photos(folder))
    decoded = 0
    for number in range(12):
        shutil.copy(folder / "a" / "3.png", folder / "a" / f"x{number}.png")
        decoded += opening(photos(folder)).store.images_decoded
    assert opening(photos(folder)).store.images_decoded == 0
    assert_right(opening(photos(folder)), photos(folder), preprocessing)
    # Twelve new ones, some that change splits, and small entries made into one now and then; never the first forty.
    assert decoded < 40
    assert opening.cache.hits <= 2 * (4 + 1)


@pytest.mark.parametrize("where", STORES)
def test_the_second_time_nothing_is_decoded(folder: Path, opening: Opening, where: str) -> None:
    assert opening(photos(folder), where).store.images_decoded == 40
    entries = len(opening.cache.entries())
    assert (opening.cache.hits, opening.cache.misses) == (0, entries)
    assert opening(photos(folder), where).store.images_decoded == 0
    assert (opening.cache.hits, opening.cache.misses) == (entries, 0)


def replace_keeping_size_and_time(file: Path) -> None:
    """As `cp -p` or rsync do it."""
    before = file.stat()
    data = bytearray(file.read_bytes())
    pixels = np.asarray(Image.open(file))
    Image.fromarray(255 - pixels).save(file)
    data = file.read_bytes()[: before.st_size].ljust(before.st_size, b"\0")
    file.write_bytes(data)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.mark.parametrize("change", ["touched", "replaced", "added", "renamed"])
def test_a_changed_file_costs_one_decode(
    folder: Path, opening: Opening, preprocessing: Preprocessing, change: str
) -> None:
    opening(photos(folder))
    file = folder / "a" / "3.png"
    if change == "touched":
        os.utime(file)
    elif change == "replaced":
        bmp = folder / "a" / "3.bmp"  # uncompressed: another picture of the same size in bytes
        Image.open(file).save(bmp)
        file.unlink()
        opening(photos(folder))
        replace_keeping_size_and_time(bmp)
    elif change == "added":
        shutil.copy(file, folder / "a" / "new.png")
    else:
        file.rename(folder / "a" / "other.png")
    images = photos(folder)
    opened = opening(images)
    moved = {"added": 3, "renamed": 3}.get(change, 1)  # its neighbours in the order of splitting may change splits
    assert 1 <= opened.store.images_decoded <= moved
    assert_right(opened, images, preprocessing)


def test_removing_files_costs_nothing_but_those_that_change_splits(
    folder: Path, opening: Opening, preprocessing: Preprocessing
) -> None:
    first = opening(photos(folder))
    train = first.images.splits["train"]
    Path(first.images.ids[train[0]]).unlink()
    images = photos(folder)
    kept = set(np.array(images.ids)[images.splits["train"]]) - {first.images.ids[i] for i in train}
    held_out = {first.images.ids[i] for split in ("val", "test") for i in first.images.splits[split]}
    new = {images.ids[i] for split in ("val", "test") for i in images.splits[split]} - held_out
    opened = opening(images)
    assert opened.store.images_decoded == len(kept) + len(new) <= 2
    assert_right(opened, images, preprocessing)


def test_other_splits_share_what_is_decoded(folder: Path, opening: Opening, preprocessing: Preprocessing) -> None:
    first, second = photos(folder, 0), photos(folder, 1)
    opening(first)
    opened = opening(second)
    moved = np.setdiff1d(second.splits["train"], first.splits["train"])
    assert opened.store.images_decoded == 2 * len(moved)
    assert 0 < len(moved) < len(second.splits["train"])
    assert_right(opened, second, preprocessing)


def test_another_size_or_factor_is_decoded_anew(folder: Path, opening: Opening, preprocessing: Preprocessing) -> None:
    images = photos(folder)
    opening(images)
    for form in (formats.training(preprocessing, 2.0), formats.evaluation(preprocessing.at(20))):
        wants = [PixelRequest(form, images.splits["train"])]
        cache = Cache(folder.parent / "cache", LARGE)
        opened = open_store(images, wants, StoreOptions("disk", "error"), cache, Reporter(quiet=True))
        assert opened.store.images_decoded == len(images.splits["train"])


def test_a_dropped_entry_stays_readable_for_who_has_it_open(
    folder: Path, opening: Opening, preprocessing: Preprocessing
) -> None:
    images = photos(folder)
    opened = opening(images)
    shutil.rmtree(folder.parent / "cache")
    assert_right(opened, images, preprocessing)


@pytest.mark.parametrize("file", ["pixels.bin", "index.safetensors", "about.json", "entry.json"])
def test_a_damaged_entry_is_decoded_again(
    folder: Path, opening: Opening, preprocessing: Preprocessing, file: str
) -> None:
    images = photos(folder)
    opening(images)
    for entry in opening.cache.entries():
        path = entry.path / file
        path.write_bytes(path.read_bytes()[:-9])
    opened = opening(images)
    assert opened.store.images_decoded == 40
    assert_right(opened, images, preprocessing)


def test_fingerprints_tell_content_and_order_not_names_or_stores(
    folder: Path, opening: Opening, tmp_path: Path
) -> None:
    images = photos(folder)
    train = images.splits["train"]
    print_of = opening(images).store.fingerprint
    assert all(opening(images, where).store.fingerprint(train) == print_of(train) for where in STORES)
    assert print_of(train) != print_of(train[::-1]) != print_of(train[1:])
    shutil.copytree(folder, tmp_path / "moved")
    (tmp_path / "moved" / "a" / "1.png").touch()
    assert opening(photos(tmp_path / "moved")).store.fingerprint(train) == print_of(train)
    Image.new("RGB", (30, 30)).save(tmp_path / "moved" / "a" / f"{Path(images.ids[train[0]]).name}")
    assert opening(photos(tmp_path / "moved")).store.fingerprint(train) != print_of(train)


def test_a_fingerprint_says_what_images_hold_not_how_they_are_shown(
    folder: Path, opening: Opening, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = photos(folder)
    before = opening(images).store.fingerprint(images.splits["train"])
    monkeypatch.setattr("transfer_cli.data.reading.decode.VERSION", 99)
    again = opening(images)
    assert again.store.images_decoded > 0
    assert again.store.fingerprint(images.splits["train"]) == before


def test_sets_in_memory_need_no_disk(tmp_path: Path, opening: Opening, preprocessing: Preprocessing) -> None:
    digits = load("digits", None, shots=3)
    opened = opening(digits, "auto")
    assert opened.store.where == "memory"
    assert not (tmp_path / "cache").exists()
    assert_right(opened, digits, preprocessing)
    train = digits.splits["train"]
    assert opened.store.fingerprint(train) == opening(digits, "auto").store.fingerprint(train)
    assert opened.store.fingerprint(train) != opened.store.fingerprint(train[::-1])
