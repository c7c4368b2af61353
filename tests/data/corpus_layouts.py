"""Folders of images as they are downloaded, and with what systems leave in them, each with what must come of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.data.corpus_trees import ODD, TWO, Holds, Refused, Tree, filled, image, pictures

CLUTTER = (
    "@eaDir",
    "__MACOSX",
    ".ipynb_checkpoints",
    "@Recycle",
    "#recycle",
    "lost+found",
    "thumbnails",
    "$RECYCLE.BIN",
)
ALL_THREE = ("train", "val", "test")


def splits_of(*folders: str) -> Callable[[Path], None]:
    """Two classes in each folder."""
    return pictures(*(f"{folder}/{name}" for folder in folders for name in "ab"))


def three(*folders: str, note: str = "") -> Tree:
    """A tree whose folders are train, val and test."""
    return Tree(splits_of(*folders), Holds({"a": 9, "b": 9}, (note,) if note else (), ALL_THREE))


def two(*folders: str, note: str = "no val folder") -> Tree:
    """A tree whose folders are train and test."""
    return Tree(splits_of(*folders), Holds({"a": 6, "b": 6}, (note,), ("train", "test")))


_NO_LABELS = "3 images without class folders, so without labels; left out"

LAYOUTS: dict[str, Tree] = {
    "Training and Testing": two("Training", "Testing"),
    "training_set and test_set": two("training_set", "test_set"),
    "train_images and test_images": two("train_images", "test-images"),
    "TrainingSet and TestSet": two("TrainingSet", "TestSet"),
    "trainset, valset and testset": three("trainset", "valset", "testset"),
    "a shared word": two("seg_train", "seg_test"),
    "a shared year": Tree(
        splits_of("train2017", "val2017"), Holds({"a": 6, "b": 6}, ("no test folder",), ("train", "val"))
    ),
    "several years": Tree(splits_of("train1", "test1", "train2", "test2"), Refused("are expected in train and test")),
    "a folder of the same name in each": two("seg_train/seg_train", "seg_test/seg_test"),
    "images in each": three("train/images", "valid/images", "test/images"),
    "train, dev and test": three("train", "dev", "test"),
    "a folder around the splits": three("set/train", "set/val", "set/test", note="its one folder is set"),
    "two folders around the splits": two("x/y/train", "x/y/test", note="its one folder is x/y"),
    "a folder around the classes": Tree(pictures("pets/a", "pets/b"), Holds(TWO, ("its one folder is pets",))),
    "a folder around the classes, and one of a system": Tree(
        pictures("pets/a", "pets/b", "__MACOSX/pets/a"), Holds(TWO, ("its one folder is pets",))
    ),
    "a folder around one class": Tree(pictures("pets/a"), Refused("only one class (pets)")),
    "one class with images and folders": Tree(pictures("a", "a/x", "a/y"), Refused("only one class (a)")),
    "flat test": Tree(
        filled(splits_of("train", "val"), pictures("test")), Holds({"a": 6, "b": 6}, (_NO_LABELS,), ("train", "val"))
    ),
    "flat test in a folder more": Tree(
        filled(splits_of("train", "val"), pictures("test/images")),
        Holds({"a": 6, "b": 6}, (_NO_LABELS,), ("train", "val")),
    ),
    "flat val": Tree(filled(splits_of("train"), pictures("val")), Holds(TWO, (_NO_LABELS, "no test folder"))),
    "empty val": Tree(
        filled(splits_of("train"), lambda root: (root / "val").mkdir()), Holds(TWO, ("val: no images; left out",))
    ),
    "accents taken apart in val": Tree(
        pictures("train/größe", "train/b", "val/gro\u0308ße", "val/b"),
        Holds({"größe": 6, "b": 6}, ("größe is spelt with accents encoded otherwise", "no test"), ("train", "val")),
    ),
    "accents taken apart beside others": Tree(
        pictures("größe", "gro\u0308ße"),
        Holds({"größe": 3, "gro\u0308ße": 3}, ("classes that differ in spelling alone are kept apart",)),
    ),
    "numbers written in two ways": Tree(
        pictures("1", "01"), Holds({"1": 3, "01": 3}, ("differ in spelling alone are kept apart: '01' and '1'",))
    ),
    "flat train": Tree(filled(pictures("train"), splits_of("val")), Refused("no class folders")),
    "splits of other names": Tree(splits_of("fold1", "fold2", "fold3"), Refused("fold1, fold2, fold3 in")),
    "splits in the classes": Tree(
        pictures("a/train", "a/test", "b/train", "b/test"), Refused("all hold the subfolders test, train")
    ),
    "splits in one of the classes": Tree(
        pictures("images/train/a", "images/train/b", "images/val/a", "images/val/b", "labels/train/a"),
        Refused("hold(s) train beside val or test, so images, labels are no classes"),
    ),
    "a folder more in each of the classes": Tree(
        pictures(*(f"{domain}/images/{name}" for domain in ("amazon", "dslr") for name in "ab")),
        Refused("amazon, dslr in"),
    ),
    "splits in the names of classes": Tree(
        pictures("a_train", "a_test", "b_train", "b_test"), Refused("class folders are expected in train and test")
    ),
    "classes of one folder each": Tree(pictures("a/images", "b/images"), Holds(TWO)),
    "classes with words of splits": Tree(
        pictures("test_tube", "train_station"), Holds({"test_tube": 3, "train_station": 3})
    ),
    **{
        f"{name} beside the classes": Tree(
            pictures("a", "b", name), Holds(TWO, (f"1 system folder(s) are ignored: {name}",))
        )
        for name in CLUTTER
    },
    **{
        f"{name} in a class": Tree(
            pictures("a", "b", f"a/{name}/0.png"), Holds(TWO, (f"1 system folder(s) are ignored: a/{name}",))
        )
        for name in CLUTTER
    },
    "lost+found beside the splits": Tree(
        filled(splits_of("train", "val", "test"), pictures("lost+found", "val/@eaDir")),
        Holds({"a": 9, "b": 9}, ("2 system folder(s) are ignored",), ALL_THREE),
    ),
    "images beside splits and classes": Tree(
        filled(
            splits_of("train", "val", "test"),
            *[lambda root, name=name: image(root / name) for name in ("0.png", "train/1.png", "val/2.png")],
        ),
        Holds({"a": 9, "b": 9}, ("1 image beside the class folders is left out: 1.png",), ALL_THREE),
    ),
}
TREES = ODD | LAYOUTS
