"""Images that cannot be decoded, disks that are full, files that change: listed, left out or said, never silent."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.data.store.opening import LARGE, STORES, Opening, assert_right, photos
from transfer_cli.cache.entries import Cache
from transfer_cli.cache.entry import remove
from transfer_cli.data.store import firstpass, formats
from transfer_cli.data.store.formats import PixelRequest
from transfer_cli.data.store.open import StoreOptions, open_store
from transfer_cli.errors import RunError, Stopped, UserError
from transfer_cli.models.preprocessing import Preprocessing
from transfer_cli.records.terminal import Reporter


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
