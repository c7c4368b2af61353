"""Images inside other files (shards, tables, Arrow) take the same way as files: stored once, never stale, streamed."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.data.loading import load
from tests.data.test_batches import STANDARD
from transfer_cli.cache.entries import Cache
from transfer_cli.data.batches import Samples, TrainBatches
from transfer_cli.data.reading.image_set import ImageSet
from transfer_cli.data.store import formats
from transfer_cli.data.store.duplicates import duplicate_notes
from transfer_cli.data.store.formats import PixelRequest
from transfer_cli.data.store.open import DecodedSet, StoreOptions, open_store
from transfer_cli.errors import UserError
from transfer_cli.models.preprocessing import Preprocessing
from transfer_cli.records.terminal import Reporter

LABELS = ["a", "b"] * 10


def write_webdataset(file: Path, images: list[bytes]) -> None:
    with tarfile.open(file, "w") as tar:
        for number, (image, label) in enumerate(zip(images, LABELS, strict=True)):
            for ending, data in (("png", image), ("cls", label.encode())):
                info = tarfile.TarInfo(f"{number:02d}.{ending}")
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))


def write_manifest(file: Path, images: list[bytes]) -> None:
    arrow = pytest.importorskip("pyarrow", reason="needs the extra: pip install 'transfer-run[parquet]'")
    import pyarrow.parquet as pq

    pq.write_table(arrow.table({"path": images, "label": LABELS}), file, row_group_size=6)


def write_hf(file: Path, images: list[bytes]) -> None:
    datasets = pytest.importorskip("datasets", reason="needs the extra: pip install 'transfer-run[hf]'")
    made = datasets.Dataset.from_dict({"image": images, "label": LABELS})
    made.cast_column("image", datasets.Image(decode=False)).save_to_disk(file)


WRITERS: dict[str, tuple[str, Callable[[Path, list[bytes]], None]]] = {
    "webdataset": ("set.tar", write_webdataset),
    "manifest": ("set.parquet", write_manifest),
    "hf": ("set", write_hf),
}


@pytest.fixture
def images(tmp_path: Path, make_images: Callable[..., list[Path]]) -> list[bytes]:
    return [file.read_bytes() for file in make_images(tmp_path / "photos", 20, size=(30, 24))]


def written(kind: str, folder: Path, images: list[bytes]) -> ImageSet:
    name, write = WRITERS[kind]
    write(folder / name, images)
    return load(kind, str(folder / name))


def opened(
    images: ImageSet, preprocessing: Preprocessing, root: Path, where: str = "disk", on_bad: str = "error"
) -> DecodedSet:
    wants = [
        PixelRequest(formats.training(preprocessing, 1.5), images.splits["train"]),
        PixelRequest(formats.evaluation(preprocessing), np.union1d(images.splits["val"], images.splits["test"])),
    ]
    return open_store(images, wants, StoreOptions(where, on_bad), Cache(root, 10**12), Reporter(quiet=True))


@pytest.mark.parametrize("kind", WRITERS)
def test_images_inside_a_file_are_decoded_once_and_never_stale(
    tmp_path: Path, images: list[bytes], preprocessing: Preprocessing, kind: str
) -> None:
    first = opened(written(kind, tmp_path, images), preprocessing, tmp_path / "cache")
    assert first.store.images_decoded == 20
    held_out = first.images.splits["test"]
    for index, pixels in zip(held_out, first.store.evaluation(held_out), strict=True):
        expected = preprocessing.pixels(Image.open(io.BytesIO(images[index])).convert("RGB"))
        assert np.array_equal(pixels, expected)
    again = load(kind, str(tmp_path / WRITERS[kind][0]))
    assert opened(again, preprocessing, tmp_path / "cache").store.images_decoded == 0
    changed = written(kind, tmp_path, images[::-1])
    second = opened(changed, preprocessing, tmp_path / "cache")
    assert second.store.images_decoded == 20
    assert np.array_equal(
        second.store.evaluation(held_out[:1])[0],
        preprocessing.pixels(Image.open(io.BytesIO(images[::-1][held_out[0]]))),
    )


@pytest.mark.parametrize("kind", WRITERS)
def test_streaming_gives_the_same_bytes_for_any_number_of_workers(
    tmp_path: Path, images: list[bytes], preprocessing: Preprocessing, kind: str
) -> None:
    found = written(kind, tmp_path, images)
    epochs = []
    for where, workers in (("disk", 0), ("stream", 0), ("stream", 2)):
        store = opened(found, preprocessing, tmp_path / "cache", where).store
        samples = Samples(found, store, preprocessing, STANDARD, 0)
        batches = TrainBatches(samples, batch_size=5, workers=workers)
        epochs.append(torch.cat([batch.inputs for batch in batches.epoch(1)]))
    assert torch.equal(epochs[0], epochs[1])
    assert torch.equal(epochs[0], epochs[2])


@pytest.mark.parametrize("kind", WRITERS)
def test_damaged_images_inside_a_file_are_listed_or_left_out(
    tmp_path: Path, images: list[bytes], preprocessing: Preprocessing, kind: str
) -> None:
    images[3], images[8] = images[3][:60], b""
    found = written(kind, tmp_path, images)
    with pytest.raises(UserError) as caught:
        opened(found, preprocessing, tmp_path / "cache")
    assert str(caught.value).startswith("2 images cannot be decoded:")
    assert f"{found.ids[3]}: cannot be decoded" in str(caught.value)
    assert f"{found.ids[8]}: cannot be decoded (the file is empty)" in str(caught.value)
    kept = opened(found, preprocessing, tmp_path / "cache", on_bad="skip")
    assert sorted(kept.skipped) == [3, 8]
    assert sorted(np.concatenate([*kept.images.splits.values()])) == [i for i in range(20) if i not in (3, 8)]


def test_equal_images_in_two_splits_or_classes_are_said(tmp_path: Path, images: list[bytes]) -> None:
    found = written("webdataset", tmp_path, images)
    digests = np.random.default_rng(0).integers(1, 256, (20, 32), dtype=np.uint8)
    assert duplicate_notes(found, digests) == []
    train, test = found.splits["train"], found.splits["test"]
    same_class = next(index for index in train if found.labels[index] == found.labels[test[0]])
    digests[test[0]] = digests[same_class]
    (note,) = duplicate_notes(found, digests)
    assert "1 image(s) are in more than one split" in note
    assert found.ids[same_class] in note and found.ids[test[0]] in note
    one, other = (next(index for index in train[::-1] if found.labels[index] == label) for label in (0, 1))
    digests[one] = digests[other]
    _, note = duplicate_notes(found, digests)
    assert "1 image(s) are in more than one class" in note
    assert found.ids[one] in note and found.ids[other] in note
    digests[[one, other]] = 0  # not known is not equal
    assert len(duplicate_notes(found, digests)) == 1


@pytest.mark.parametrize(("labelled", "told"), [(True, "no image of class 'a' that is"), (False, "no image that is")])
def test_nothing_left_to_train_on_is_an_error(
    tmp_path: Path, images: list[bytes], preprocessing: Preprocessing, labelled: bool, told: str
) -> None:
    write_webdataset(tmp_path / "set.tar", [b""] * len(images))
    found = load("webdataset", str(tmp_path / "set.tar"), labels="classes" if labelled else "none")
    with pytest.raises(UserError, match=told):
        opened(found, preprocessing, tmp_path / "cache", on_bad="skip")
