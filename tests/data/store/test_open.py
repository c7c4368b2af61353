"""Stores: the same pixels from each, decoded once, never stale; and what happens to images that cannot be decoded."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.data.loading import load
from transfer_cli.cache.entries import Cache
from transfer_cli.cache.entry import remove
from transfer_cli.data.reading.image_set import ImageSet
from transfer_cli.data.store import firstpass, formats
from transfer_cli.data.store.formats import PixelRequest
from transfer_cli.data.store.open import DecodedSet, StoreOptions, open_store
from transfer_cli.data.views import augment
from transfer_cli.errors import RunError, Stopped, UserError
from transfer_cli.models.preprocessing import Preprocessing
from transfer_cli.records.terminal import Reporter

LARGE = 10**12
STORES = ["disk", "ram", "stream"]


def photos(folder: Path, seed: int = 0) -> ImageSet:
    return load("folder", str(folder), seed=seed)


@pytest.fixture
def folder(tmp_path: Path, make_images: Callable[..., list[Path]]) -> Path:
    """Two classes of 20 images, each of another size."""
    for name in ("a", "b"):
        for number, file in enumerate(make_images(tmp_path / "photos" / name, 20, size=(60, 40))):
            Image.open(file).crop((0, 0, 60 - number, 40)).save(file)
    return tmp_path / "photos"


@dataclass
class Opening:
    """Opens a store as a training does, in a cache of the test's own."""

    preprocessing: Preprocessing
    root: Path
    cache: Cache = field(init=False)
    """The last one used."""

    def __call__(
        self,
        images: ImageSet,
        where: str = "disk",
        on_bad: str = "error",
        max_bytes: int = LARGE,
        check_stop: Callable[[], None] = lambda: None,
    ) -> DecodedSet:
        wants = [
            PixelRequest(formats.training(self.preprocessing, 1.5), images.splits["train"]),
            PixelRequest(
                formats.evaluation(self.preprocessing), np.union1d(images.splits["val"], images.splits["test"])
            ),
        ]
        self.cache = Cache(self.root, max_bytes)
        return open_store(images, wants, StoreOptions(where, on_bad), self.cache, Reporter(quiet=True), check_stop)


@pytest.fixture
def opening(tmp_path: Path, preprocessing: Preprocessing) -> Opening:
    return Opening(preprocessing, tmp_path / "cache")


def assert_right(opened: DecodedSet, images: ImageSet, preprocessing: Preprocessing) -> None:
    """Every pixel is what decoding its file now gives."""
    held_out = np.union1d(opened.images.splits["val"], opened.images.splits["test"])
    for index, pixels in zip(held_out, opened.store.evaluation(held_out), strict=True):
        assert np.array_equal(pixels.transpose(2, 0, 1), preprocessing.apply(images.read(int(index))).numpy())
    train = opened.images.splits["train"]
    for index, pixels in zip(train, opened.store.sources(train), strict=True):
        expected = augment.train_source(images.read(int(index)), 16, Image.Resampling.BILINEAR, 1.5)
        assert np.array_equal(pixels, expected)


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


def tree(folder: Path) -> str:
    """A digest of every name, content and time below `folder`."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return hashlib.sha256(
        b"".join(str(f).encode() + f.read_bytes() + str(f.stat().st_mtime_ns).encode() for f in files)
    ).hexdigest()


def spoil(folder: Path, count: int) -> list[Path]:
    """Make the first `count` images of class a undecodable."""
    files = sorted((folder / "a").iterdir())[:count]
    for file in files:
        file.write_bytes(file.read_bytes()[:40])
    return files


@pytest.mark.parametrize("where", STORES)
@pytest.mark.parametrize("count", [1, 10, 12])
def test_bad_images_are_listed_ten_at_most_with_their_number(
    folder: Path, opening: Opening, where: str, count: int
) -> None:
    files = spoil(folder, count)
    before = tree(folder)
    for _ in range(2):  # found by decoding, then remembered
        with pytest.raises(UserError) as caught:
            opening(photos(folder), where)
        text = str(caught.value)
        assert sum(str(file) in text for file in files) == min(count, 10)
        assert f"{count} image" in text
        assert "dataset.on_bad=skip" in text
        assert ("and 2 more" in text) == (count == 12)
    assert tree(folder) == before


@pytest.mark.parametrize("where", STORES)
def test_bad_images_can_be_left_out(folder: Path, opening: Opening, preprocessing: Preprocessing, where: str) -> None:
    files = spoil(folder, 3)
    before = tree(folder)
    opened = opening(photos(folder), where, on_bad="skip")
    assert {opened.images.ids[index] for index in opened.skipped} == {str(file) for file in files}
    left = np.concatenate(list(opened.images.splits.values()))
    assert len(left) == 37 and not set(left) & set(opened.skipped)
    assert_right(opened, photos(folder), preprocessing)
    again = opening(photos(folder), where, on_bad="skip")
    assert again.skipped == opened.skipped
    assert again.store.images_decoded == 0
    assert tree(folder) == before


def test_a_class_without_a_decodable_training_image_is_an_error(folder: Path, opening: Opening) -> None:
    spoil(folder, 20)
    with pytest.raises(UserError, match="class 'a'"):
        opening(photos(folder), on_bad="skip")


def test_a_mended_image_is_back(folder: Path, opening: Opening, preprocessing: Preprocessing) -> None:
    original = (folder / "a" / "0.png").read_bytes()
    spoil(folder, 1)
    assert len(opening(photos(folder), on_bad="skip").skipped) == 1
    (folder / "a" / "0.png").write_bytes(original)
    opened = opening(photos(folder))
    assert opened.store.images_decoded == 1
    assert_right(opened, photos(folder), preprocessing)


def test_what_would_not_fit_is_streamed_or_refused(folder: Path, opening: Opening, tmp_path: Path) -> None:
    opened = opening(photos(folder), "auto", max_bytes=10_000)
    assert opened.store.where == "stream"
    assert "cache_size" in opened.summary
    with pytest.raises(UserError, match=r"dataset\.store=disk.*cache_size"):
        Opening(opening.preprocessing, tmp_path / "other")(photos(folder), "disk", max_bytes=10_000)


def test_a_set_that_just_fits_pushes_out_others_and_never_itself(
    folder: Path, opening: Opening, preprocessing: Preprocessing, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = photos(folder)
    opening(images)
    needed = sum((entry.path / "pixels.bin").stat().st_size for entry in opening.cache.entries())
    for entry in opening.cache.entries():
        remove(entry.path)
    other = [PixelRequest(formats.training(preprocessing, 1.2), images.splits["train"])]
    open_store(images, other, StoreOptions("disk", "error"), Cache(opening.root, LARGE), Reporter(quiet=True))
    (old,) = Cache(opening.root, LARGE).entries()
    monkeypatch.setattr(firstpass, "CHUNK_IMAGES", 9)
    cap = needed + 40 * 80 + 2**14  # as estimated
    assert opening(images, "disk", max_bytes=cap).store.images_decoded == 40
    assert not old.path.exists()
    assert opening(images, "disk", max_bytes=cap).store.images_decoded == 0


def fail_to_write(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """The disk is full after a few images."""
    real = firstpass.decode
    calls: list[int] = []

    def filling(*arguments: Any) -> Any:
        calls.append(1)
        if len(calls) == 15:
            raise OSError(number, os.strerror(number), "pixels.bin")
        return real(*arguments)

    monkeypatch.setattr(firstpass, "decode", filling)


def test_a_full_disk_streams_with_auto_and_ends_the_run_else(
    folder: Path, opening: Opening, preprocessing: Preprocessing, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = photos(folder)
    with monkeypatch.context() as patch:
        fail_to_write(patch, errno.ENOSPC)
        with pytest.raises(RunError, match=r"No space left.*Make room"):
            opening(images, "disk")
    assert not list((tmp_path / "cache").glob("pixels/*"))
    with monkeypatch.context() as patch:
        fail_to_write(patch, errno.ENOSPC)
        opened = opening(images, "auto")
    assert opened.store.where == "stream"
    assert_right(opened, images, preprocessing)
    assert opening(images, "disk").store.where == "disk"


def test_a_cache_that_cannot_be_written(
    folder: Path, opening: Opening, preprocessing: Preprocessing, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("mine")
    opening.root = tmp_path / "file" / "cache"
    with pytest.raises(UserError, match="cache_dir"):
        opening(photos(folder), "disk")
    opened = opening(photos(folder), "auto")
    assert opened.store.where == "stream"
    assert_right(opened, photos(folder), preprocessing)
    assert (tmp_path / "file").read_text() == "mine"


def test_a_file_that_changes_while_it_is_read_is_an_error(
    folder: Path, opening: Opening, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(firstpass, "stamp", lambda path: b"another stamp")
    with pytest.raises(RunError, match="changed while it was read"):
        opening(photos(folder))


def test_a_stop_keeps_the_chunks_that_are_done(
    folder: Path, opening: Opening, preprocessing: Preprocessing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(firstpass, "CHUNK_IMAGES", 5)
    seen: list[int] = []

    def stop() -> None:
        seen.append(1)
        if len(seen) > 18:
            raise Stopped(75, "here")

    with pytest.raises(Stopped):
        opening(photos(folder), check_stop=stop)
    opened = opening(photos(folder))
    assert opened.store.images_decoded <= 40 - 10
    assert_right(opened, photos(folder), preprocessing)


def test_equal_files_in_two_splits_are_said(tmp_path: Path, opening: Opening, make_images: Any) -> None:
    for split in ("train", "val", "test"):
        for name in ("a", "b"):
            make_images(tmp_path / "set" / split / name, 3)
    assert opening(photos(tmp_path / "set")).notes == []
    shutil.copy(tmp_path / "set" / "train" / "a" / "1.png", tmp_path / "set" / "test" / "a" / "copy.png")
    (note,) = opening(photos(tmp_path / "set")).notes
    assert "1 image(s) are in more than one split" in note
    assert "train/a/1.png and" in note
    assert note.endswith("test/a/copy.png.")
