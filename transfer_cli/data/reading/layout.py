"""Where the class folders of each split are, in folders as they are downloaded: training_set/ beside test_set/, a
folder more around everything, test/ without classes."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from transfer_cli.data.reading.listing import SPLIT_NAMES, few, split_of
from transfer_cli.data.reading.walk import entries, folders, holds_images, inode_of, is_loose_image
from transfer_cli.errors import UserError

_FILLING = frozenset(
    {"set", "sets", "data", "dataset", "image", "images", "img", "imgs", "pictures", "photos", "samples", "split"}
)
"""Words of a split folder's name that say nothing: training_set, test_images."""


@dataclass(frozen=True)
class Layout:
    """A set's folders."""

    root: Path
    """What keys are relative to: the folder given, or the one that it wraps."""
    splits: dict[str, Path]
    """Always "train"; "val" and "test" where there are such folders. `labelled`, class folders are right in them."""
    without_classes: dict[str, Path]
    """Folders of splits that are none, for their images have no labels."""
    passed: list[Path]
    """Folders whose own files belong to no class or split."""
    notes: list[str]
    """What the user may not expect."""


def find(given: Path, labelled: bool) -> Layout:
    """The folders of splits, or the one of a set without them, below `given` or what it wraps.

    Raises UserError for a split in two folders, for val or test without train, for classes that are none.
    """
    root, splits = _unwrapped(given, labelled)
    if "train" not in splits:
        if splits and labelled:
            raise UserError(f"dataset.path={given}: has {few([p.name for p in splits.values()])} but no train folder.")
        root, splits = (root if labelled else given), {}
    layout = Layout(
        root,
        splits or {"train": root},
        {},
        _way(given, root) if labelled or splits else [],
        [f"{given}: its one folder is {root.relative_to(given)}; the set is read from there."] if root != given else [],
    )
    return _with_classes(layout, given) if labelled else layout


def _unwrapped(given: Path, labelled: bool) -> tuple[Path, dict[str, Path]]:
    """`given`, or the folder with splits (`labelled`: or with several folders) that it wraps; and its split folders."""
    folder, seen = given, set()
    while True:
        splits, inner = _split_folders(folder), folders(folder)
        if splits:
            return folder, splits
        if folder != given and holds_images(folder):
            return given, {}  # a class, whatever folders it has besides
        if labelled and len(inner) > 1:
            return folder, {}
        seen.add(inode_of(folder))
        if len(inner) != 1 or inode_of(inner[0].path) in seen:
            return given, {}
        folder = folder / inner[0].name


def _split_folders(folder: Path) -> dict[str, Path]:
    """The subfolders that are splits by their names, which may share another word: seg_train, seg_test."""
    named: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for entry in folders(folder):
        split, rest = _split_and_rest(entry.name)
        if split is not None:
            named[rest][split].append(entry.name)
    whole = named.pop("", None)
    pairs = [by_split for by_split in named.values() if "train" in by_split and len(by_split) > 1]
    if whole is None and len(pairs) > 1:
        seen = sorted(name for by_split in pairs for names in by_split.values() for name in names)
        raise UserError(f"dataset.path={folder}: has {few(seen, 4)}; class folders are expected in train and test.")
    found = whole or (pairs[0] if pairs else {})
    for split, names in found.items():
        if len(names) > 1:
            raise UserError(f"dataset.path={folder}: has {' and '.join(names)}; keep one {split} folder.")
    return {split: folder / found[split][0] for split in SPLIT_NAMES if split in found}


def _split_and_rest(name: str) -> tuple[str | None, str]:
    """The split that one word of a folder's name stands for, and the words that say something else."""
    words = re.split(r"[\W_]+", re.sub(r"(?<=[a-z])(?=[A-Z\d])", "_", name).lower())
    telling = [word for word in words if word and word not in _FILLING]
    splits = {word: split for word in telling if (split := split_of(re.sub("(set|data)$", "", word)))}
    if len(splits) != 1:
        return None, ""
    word, split = splits.popitem()
    return split, " ".join(other for other in telling if other != word)


def _with_classes(layout: Layout, given: Path) -> Layout:
    """The layout with each split's folder of class folders, without splits that have none."""
    train = _class_folder(layout.splits["train"], [])
    classes = [entry.name for entry in folders(train)]
    _check_classes(given, train, classes)
    splits: dict[str, Path] = {"train": train}
    without: dict[str, Path] = {}
    notes = [*layout.notes]
    passed = [*layout.passed, *_way(layout.splits["train"], train)]
    for split in ("val", "test"):
        if split not in layout.splits:
            continue
        outer = layout.splits[split]
        folder = _class_folder(outer, classes)
        if folders(folder):
            splits[split] = folder
            passed += _way(outer, folder)
        else:
            without[split] = folder
            notes.append(_without_classes(split, folder))
    return Layout(layout.root, splits, without, list(dict.fromkeys(passed)), notes)


def _class_folder(outer: Path, classes: Sequence[str]) -> Path:
    """`outer`, or the folder with class folders that it wraps: seg_train/seg_train, val/images.

    Where `classes` are known, a folder of a class's name is no wrapping.
    """
    folder, seen = outer, set()
    while True:
        inner = folders(folder)
        if len(inner) > 1 or any(entry.name in classes for entry in inner):
            return folder
        seen.add(inode_of(folder))
        if not inner or inode_of(inner[0].path) in seen:
            return folder if classes else outer
        if holds_images(inner[0].path) and not (classes and _says_no_class(inner[0].name)):
            return outer
        folder = folder / inner[0].name


def _says_no_class(name: str) -> bool:
    """Whether a folder in a split is called after the split, or just "images"."""
    split, rest = _split_and_rest(name)
    return name.lower() in _FILLING or (split is not None and not rest)


def _way(outer: Path, inner: Path) -> list[Path]:
    """`outer`, the folders on the way to `inner`, and `inner`."""
    below = inner.relative_to(outer).parts
    return [outer.joinpath(*below[:count]) for count in range(len(below) + 1)]


def _check_classes(given: Path, train: Path, classes: list[str]) -> None:
    """UserError where "classes" share their subfolders, or hold splits: then those are the classes, or splits."""
    if len(classes) < 2:
        return
    common: set[str] | None = None
    split: list[str] = []
    """Classes that hold splits."""
    for name in classes:
        inside = _innermost(train / name)
        inner = set() if holds_images(inside) else {entry.name for entry in folders(inside)}
        if _are_splits(inner):
            split.append(name)
        common = inner if common is None else common & inner
        if len(common) < 2 and not split:
            return
    if common is not None and len(common) < 2:
        raise UserError(
            f"dataset.path={given}: {few(split)} in {train} hold(s) train beside val or test, so {few(classes)} are no "
            f"classes. dataset.path={train / split[0]} reads one of them, dataset=manifest any layout from a table."
        )
    assert common is not None
    shared = few(sorted(common))
    raise UserError(
        f"dataset.path={given}: {few(classes)} in {train} all hold the subfolders {shared}, so they are no classes. "
        f"One subfolder a class is expected, in train/ (val/, test/) or alone: dataset.path={train / classes[0]} reads "
        "one of them, dataset=manifest any layout from a table."
    )


def _are_splits(names: Collection[str]) -> bool:
    """Whether folders of these names are train and another split."""
    found = {split_of(name) for name in names}
    return "train" in found and len(found - {None}) > 1


def _innermost(folder: Path) -> Path:
    """`folder`, or the one that it wraps: what holds images, or several folders, or nothing."""
    seen = set()
    while not holds_images(folder) and len(inner := folders(folder)) == 1 and inode_of(folder) not in seen:
        seen.add(inode_of(folder))
        folder = folder / inner[0].name
    return folder


def _without_classes(split: str, folder: Path) -> str:
    """What to say of a split folder without class folders."""
    images = sum(map(is_loose_image, entries(folder)))
    what = f"{images:,} images without class folders, so without labels" if images else "no images"
    use = f", and mode=predict input={folder} labels these" if images else ""
    return f"{folder}: {what}; left out. Images of {split} are cut from train by dataset.{split}_fraction{use}."
