"""The real sets cannot be downloaded here: their layouts are built with a few images."""

import gzip
import importlib
import inspect
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.data.loading import load
from transfer_cli.data.reading.image_set import ImageSet
from transfer_cli.data.sources.torchvision_sets import SETS
from transfer_cli.downloads import reach
from transfer_cli.errors import UserError


def loaded(name: str, path: Path | None, **changes: Any) -> ImageSet:
    return load(name, path, **{"val_fraction": 0.3, "test_fraction": 0.3} | changes)


def save(file: Path, colour: int) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (12, 10), (colour, 0, 0)).save(file)


def write_mnist(root: Path) -> None:
    raw = root / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for prefix, count in (("train", 50), ("t10k", 20)):
        pixels = np.repeat(np.arange(count, dtype=np.uint8), 28 * 28)
        head = struct.pack(">4I", 0x803, count, 28, 28)
        (raw / f"{prefix}-images-idx3-ubyte").write_bytes(head + pixels.tobytes())
        labels = (np.arange(count) % 10).astype(np.uint8)
        (raw / f"{prefix}-labels-idx1-ubyte").write_bytes(struct.pack(">2I", 0x801, count) + labels.tobytes())


def write_eurosat(root: Path) -> None:
    for name in ("Forest", "River"):
        for number in range(10):
            save(root / "eurosat" / "2750" / name / f"{name}_{number}.png", number)


def write_caltech101(root: Path) -> None:
    for name in ("BACKGROUND_Google", "anchor", "ant"):
        for number in range(1, 11):
            save(root / "caltech101" / "101_ObjectCategories" / name / f"image_{number:04d}.jpg", number)


def write_dtd(root: Path) -> None:
    for split, numbers in (("train", range(3)), ("val", range(3, 5)), ("test", range(5, 6))):
        names = [f"{name}/{name}_{number}.jpg" for name in ("banded", "dotted") for number in numbers]
        for file in names:
            save(root / "dtd" / "dtd" / "images" / file, 0)
        (root / "dtd" / "dtd" / "labels").mkdir(exist_ok=True)
        (root / "dtd" / "dtd" / "labels" / f"{split}1.txt").write_text("\n".join(names))


def write_imagenette(root: Path) -> None:
    for split, count in (("train", 10), ("val", 2)):
        for wnid in ("n01440764", "n02102040"):
            for number in range(count):
                save(root / "imagenette2" / split / wnid / f"{number}.JPEG", number)


def write_gtsrb(root: Path) -> None:
    for label in (0, 7):
        for number in range(10):
            save(root / "gtsrb" / "GTSRB" / "Training" / f"{label:05d}" / f"{number}.ppm", number)
    save(root / "gtsrb" / "GTSRB" / "Final_Test" / "Images" / "0.ppm", 9)
    (root / "gtsrb" / "GT-final_test.csv").write_text("Filename;ClassId\n0.ppm;1\n")


def write_pets(root: Path) -> None:
    annotations = root / "oxford-iiit-pet" / "annotations"
    annotations.mkdir(parents=True)
    for split, count in (("trainval", 10), ("test", 2)):
        lines = []
        for label, name in ((1, "Abyssinian"), (2, "basset_hound")):
            for number in range(count):
                save(root / "oxford-iiit-pet" / "images" / f"{name}_{split}{number}.jpg", number)
                lines.append(f"{name}_{split}{number} {label} 1 1")
        (annotations / f"{split}.txt").write_text("\n".join(lines))


@pytest.mark.parametrize(
    ("name", "write", "classes", "counts", "first"),
    [
        ("mnist", write_mnist, 10, (30, 20, 20), "mnist/train/0"),
        ("eurosat", write_eurosat, ("Forest", "River"), (8, 6, 6), "eurosat/2750/Forest/Forest_0.png"),
        ("caltech101", write_caltech101, ("anchor", "ant"), (8, 6, 6), None),
        ("dtd", write_dtd, ("banded", "dotted"), (6, 4, 2), "dtd/dtd/images/banded/banded_0.jpg"),
        ("imagenette", write_imagenette, ("tench", "English springer"), (14, 6, 4), None),
        ("oxford_pets", write_pets, ("Abyssinian", "Basset Hound"), (14, 6, 4), None),
    ],
)
def test_standard_splits(
    tmp_path: Path,
    name: str,
    write: Callable[[Path], None],
    classes: int | tuple[str, ...],
    counts: tuple[int, ...],
    first: str | None,
) -> None:
    write(tmp_path)
    images = loaded(name, tmp_path)
    assert (len(images.classes) if isinstance(classes, int) else images.classes) == classes
    assert tuple(len(images.splits[split]) for split in ("train", "val", "test")) == counts
    assert np.array_equal(np.sort(np.concatenate(list(images.splits.values()))), np.arange(len(images.ids)))
    assert all(images.read(index).mode == "RGB" for index in range(len(images.ids)))
    assert first is None or images.ids[0] in (first, str(tmp_path / first))


def test_labels_and_pixels_belong_together(tmp_path: Path) -> None:
    """MNIST: sample k of each part has grey k and label k % 10, the test part after the train part."""
    write_mnist(tmp_path)
    images = loaded("mnist", tmp_path)
    for index, k in ((3, 3), (49, 49), (50, 0), (69, 19)):
        assert images.read(index).getpixel((0, 0)) == (k, k, k)
        assert images.labels[index] == k % 10
    assert not images.files


def moved(root: Path, to: str, packed: bool, dot: bool) -> Path:
    """The four files of `write_mnist` elsewhere, packed or named as other sites name them."""
    write_mnist(root / "made")
    target = root / "set" / to
    target.mkdir(parents=True)
    for file in (root / "made" / "MNIST" / "raw").iterdir():
        name = file.name.replace("-idx", ".idx") if dot else file.name
        data = file.read_bytes()
        (target / (name + ".gz" * packed)).write_bytes(gzip.compress(data) if packed else data)
    return root / "set"


@pytest.mark.parametrize("to", ["MNIST/raw", "MNIST", "raw", "."])
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("dot", [False, True])
def test_idx_files_may_be_packed_and_lie_right_in_the_folder(tmp_path: Path, to: str, packed: bool, dot: bool) -> None:
    write_mnist(tmp_path / "usual")
    usual, images = loaded("mnist", tmp_path / "usual"), loaded("mnist", moved(tmp_path, to, packed, dot))
    assert (images.classes, images.ids, images.labels.tolist()) == (usual.classes, usual.ids, usual.labels.tolist())
    assert all(images.splits[split].tolist() == usual.splits[split].tolist() for split in usual.splits)
    assert all(images.read(index).tobytes() == usual.read(index).tobytes() for index in (0, 49, 50, 69))
    assert loaded("fashion_mnist", moved(tmp_path / "other", ".", packed, dot)).classes[0] == "T-shirt/top"


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("train-images-idx3-ubyte.gz", gzip.compress(struct.pack(">4I", 0x803, 9, 9, 9))[:-9], "cannot be read"),
        ("train-images-idx3-ubyte.gz", b"<html>", "not an idx file of bytes with 3 axes"),
        ("train-images-idx3-ubyte.gz", struct.pack(">4I", 0x803, 9, 28, 28) + bytes(9), "fewer bytes than the 7,056"),
        ("train-images-idx3-ubyte.gz", struct.pack(">4I", 0x803, 2**31, 2**31, 9), "its header says"),
        ("t10k-labels-idx1-ubyte.gz", struct.pack(">2I", 0x801, 3) + bytes(3), "3 labels for 20 images"),
        ("t10k-labels-idx1-ubyte.gz", struct.pack(">2I", 0x801, 20) + bytes([11]) * 20, "label 11; from 0 to 9"),
    ],
    ids=["cut", "page", "short", "huge", "count", "label"],
)
def test_a_damaged_idx_file_is_named(tmp_path: Path, name: str, content: bytes, said: str) -> None:
    root = moved(tmp_path, ".", packed=True, dot=False)
    (root / name).write_bytes(content)
    with pytest.raises(UserError, match=rf"{root}/{name}: .*{said}"):
        loaded("mnist", root)


def test_a_folder_of_idx_files_says_which_set_it_is(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="read by dataset=mnist"):
        loaded("folder", moved(tmp_path, ".", packed=True, dot=False))


def test_the_sets_own_folder_may_be_given(tmp_path: Path) -> None:
    write_eurosat(tmp_path)
    above, own = loaded("eurosat", tmp_path), loaded("eurosat", tmp_path / "eurosat")
    assert (own.ids, own.splits["val"].tolist()) == (above.ids, above.splits["val"].tolist())


def test_house_numbers_keep_their_colours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SVHN stores [H, W, C, N] and writes the digit 0 as 10."""
    from scipy.io import savemat

    monkeypatch.setattr("torchvision.datasets.svhn.SVHN._check_integrity", lambda self: True)
    pixels = np.zeros((32, 32, 3, 40), dtype=np.uint8)
    pixels[1, 2] = np.array([[10], [20], [30]]) + np.arange(40)
    for split in ("train", "test"):
        savemat(tmp_path / f"{split}_32x32.mat", {"X": pixels, "y": np.arange(40) % 10 + 1})
    images = loaded("svhn", tmp_path)
    assert images.read(7).getpixel((2, 1)) == (17, 27, 37)
    assert [images.classes[images.labels[index]] for index in (0, 9)] == ["1", "0"]


def test_traffic_signs_keep_their_numbers(tmp_path: Path) -> None:
    write_gtsrb(tmp_path)
    images = loaded("gtsrb", tmp_path)
    assert len(images.classes) == 43
    assert [images.classes[images.labels[index]] for index in (0, 10, 20)] == ["00", "01", "01"]


@pytest.mark.parametrize("name", sorted(SETS))
def test_a_missing_set_says_where_it_looked_and_writes_nothing(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match=rf"dataset={name}: not found, looked for {tmp_path}/.*dataset\.download=true"):
        loaded(name, tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_path_is_needed() -> None:
    with pytest.raises(UserError, match=r"dataset\.path is not set"):
        loaded("cifar10", None)


def test_a_damaged_set_is_said(tmp_path: Path) -> None:
    (tmp_path / "cifar-10-batches-py").mkdir()
    (tmp_path / "cifar-10-batches-py" / "data_batch_1").write_bytes(b"cos\nsystem\n(S'false'\ntR.")
    with pytest.raises(UserError, match="dataset=cifar10: is incomplete or damaged"):
        loaded("cifar10", tmp_path)


def test_a_download_that_fails_is_said_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reach, "_connects", lambda host, port: False)
    with pytest.raises(UserError, match=r"dataset=cifar10: could not be downloaded.*no network.*mode=fetch"):
        loaded("cifar10", tmp_path / "new", download=True)
    assert not list(tmp_path.iterdir()), "nothing is left of it"


@pytest.mark.parametrize("name", sorted(SETS))
def test_torchvision_takes_the_arguments(name: str) -> None:
    spec = SETS[name]
    taken = inspect.signature(getattr(importlib.import_module("torchvision.datasets"), spec.dataset)).parameters
    assert {"root", "download"}.union(*spec.splits.values()) <= set(taken)
