from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.data.loading import load
from transfer_cli.data.describe import class_table
from transfer_cli.data.sources.load import names, source_of
from transfer_cli.data.sources.torchvision_sets import SETS
from transfer_cli.errors import UserError


def test_digits_are_those_of_scikit_learn() -> None:
    from sklearn.datasets import load_digits

    reference, images = load_digits(), load("digits")
    assert np.array_equal(images.labels, reference.target)
    assert images.ids[17] == "digits/17"
    for index in (0, 5, 1796):
        picture = np.array(images.read(index))
        assert picture.shape == (8, 8, 3)
        assert np.array_equal(picture[..., 1], np.rint(reference.images[index] * 255 / 16))


@pytest.mark.parametrize("name", ["digits", "fake"])
def test_splits_cover_a_packaged_set_once(name: str) -> None:
    images = load(name)
    parts = [images.splits[split] for split in ("train", "val", "test")]
    assert sorted(np.concatenate(parts)) == list(range(len(images.ids)))
    assert all(len(np.unique(images.labels[part])) == 10 for part in parts)
    assert not images.files


def test_seed_changes_splits_not_images() -> None:
    one, two = load("fake", seed=1), load("fake", seed=2)
    assert not np.array_equal(one.splits["train"], two.splits["train"])
    assert np.array_equal(np.array(one.read(3)), np.array(two.read(3)))


def test_a_seed_of_its_own_holds_the_splits_still() -> None:
    """Those of the run's seed where it is that one, also where folds or shots draw them."""
    for more in ({}, {"shots": 3}, {"folds": 4, "fold": 1}):
        own = load("fake", seed=1, **more)
        for seed in (1, 2):
            held = load("fake", seed=seed, split_seed=1, **more)
            assert all(np.array_equal(held.splits[split], own.splits[split]) for split in own.splits)
        assert not np.array_equal(load("fake", seed=2, **more).splits["train"], own.splits["train"])


def test_fake_classes_can_be_told_apart_but_not_by_one_pixel() -> None:
    """Nearest class mean of the colours is far above chance, and images of a class differ."""
    images = load("fake", num_classes=4, samples=80)
    colours = np.array([np.array(images.read(index)).mean(axis=(0, 1)) for index in range(80)])
    colours /= colours.sum(axis=1, keepdims=True)
    train, test = images.splits["train"], images.splits["test"]
    means = np.stack([colours[train][images.labels[train] == label].mean(axis=0) for label in range(4)])
    guessed = np.linalg.norm(colours[test][:, None] - means, axis=2).argmin(axis=1)
    assert (guessed == images.labels[test]).mean() > 0.9
    assert not np.array_equal(np.array(images.read(0)), np.array(images.read(4)))
    assert images.classes == ("class_0", "class_1", "class_2", "class_3")


@pytest.mark.parametrize(("key", "value"), [("num_classes", 1), ("samples", 5)])
def test_impossible_fake_sets_name_their_key(key: str, value: int) -> None:
    with pytest.raises(UserError, match=rf"dataset\.{key}={value}"):
        load("fake", **{key: value})


def test_own_splits_are_kept_and_missing_ones_cut_from_train(
    tmp_path: Path, make_images: Callable[..., list[Path]]
) -> None:
    for folder, count in (("train/a", 10), ("train/b", 10), ("val/a", 1), ("val/b", 1)):
        make_images(tmp_path / folder, count)
    images = load("folder", str(tmp_path))
    assert [images.ids[index] for index in images.splits["val"]] == [
        str(tmp_path / "val" / name / "0.png") for name in ("a", "b")
    ]
    assert len(images.splits["test"]) == 4
    assert len(images.splits["train"]) == 16
    assert all("/train/" in images.ids[index] for index in images.splits["test"])
    assert "dataset.test_fraction" in images.notes[0]


def test_a_moved_folder_is_split_alike(tmp_path: Path, make_images: Callable[..., list[Path]]) -> None:
    for name in ("a", "b"):
        make_images(tmp_path / "here" / name, 10)
    before = load("folder", str(tmp_path / "here"))
    (tmp_path / "here").rename(tmp_path / "there")
    after = load("folder", str(tmp_path / "there"))
    assert all(np.array_equal(before.splits[split], after.splits[split]) for split in before.splits)


def test_shots_cut_train_alone() -> None:
    images = load("digits", shots=3)
    assert np.bincount(images.labels[images.splits["train"]]).tolist() == [3] * 10
    assert np.array_equal(images.splits["test"], load("digits").splits["test"])


def test_unknown_names_list_near_ones() -> None:
    with pytest.raises(UserError, match=r"dataset\.name=cifar11.*cifar10"):
        load("cifar11")


@pytest.mark.parametrize(("key", "value"), [("val_fraction", 0.0), ("test_fraction", 1.0)])
def test_impossible_fractions_name_their_key(key: str, value: float) -> None:
    with pytest.raises(UserError, match=rf"dataset\.{key}"):
        load("digits", **{key: value})


def test_classes_that_differ_in_case_are_said(tmp_path: Path, make_images: Callable[..., list[Path]]) -> None:
    for name in ("cat", "Cat", "dog"):
        make_images(tmp_path / name, 5)
    assert "Cat and cat" in "\n".join(load("folder", str(tmp_path)).notes)


def test_without_labels_nothing_is_cut_and_train_can_be_reduced(
    tmp_path: Path, make_images: Callable[..., list[Path]]
) -> None:
    make_images(tmp_path, 10)
    images = load("folder", str(tmp_path), labels="none", train_fraction=0.3)
    assert {split: len(members) for split, members in images.splits.items()} == {"train": 3, "val": 0, "test": 0}
    assert images.classes == ()


def test_weights_of_a_table_arrive(tmp_path: Path, make_images: Callable[..., list[Path]]) -> None:
    make_images(tmp_path, 8)
    rows = [f"{i}.png,{'ab'[i % 2]},{i}" for i in range(8)]
    (tmp_path / "list.csv").write_text("\n".join(["path,label,weight", *rows]))
    images = load("manifest", str(tmp_path / "list.csv"))
    assert images.weights is not None
    assert images.weights[images.splits["train"]].mean() == pytest.approx(1)
    assert images.weights / images.weights[1] == pytest.approx(np.arange(8))
    assert images.ids[3] == str(tmp_path / "3.png")
    assert images.encoded is not None
    assert images.encoded.location(3) == (str(tmp_path / "3.png"), "")


def test_weights_of_nothing_but_zero_are_refused(tmp_path: Path, make_images: Callable[..., list[Path]]) -> None:
    make_images(tmp_path, 8)
    rows = [f"{i}.png,{'ab'[i % 2]},0" for i in range(8)]
    (tmp_path / "list.csv").write_text("\n".join(["path,label,weight", *rows]))
    with pytest.raises(UserError, match="weights of all training images are 0"):
        load("manifest", str(tmp_path / "list.csv"))


def test_the_table_of_classes_keeps_the_largest_and_the_smallest() -> None:
    images = load("fake", num_classes=30, samples=990)
    rare = np.setdiff1d(images.splits["train"], np.flatnonzero(images.labels == 7)[:20])
    columns, rows = class_table(replace(images, splits={**images.splits, "train": rare}))
    assert columns == ["class", "train", "val", "test"]
    assert len(rows) == 21
    assert rows[10] == ["...", "", "", ""]
    assert rows[-1][0] == "class_07"
    assert rows[0][1:] == ["19", "7", "7"]


def test_every_file_of_the_folder_is_a_source() -> None:
    own = [name for name in names() if name not in SETS]
    assert own == ["digits", "fake", "folder", "hf", "manifest", "webdataset"]
    for name in (*own, "cifar10"):
        source = source_of(name)
        assert source.PATH is None or source.PATH.what
        assert callable(source.load)


@pytest.mark.parametrize("name", ["load", "torchvision_sets", "__init__", "os", "..load", "../views/draws", ""])
def test_nothing_else_is_imported(name: str) -> None:
    with pytest.raises(UserError, match=r"dataset\.name"):
        source_of(name)
