"""Folders of images: class = subfolder name, with or without train/val/test above. Only ever reads."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from transfer_cli.config.schema import Dataset
from transfer_cli.data.reading.listing import SPLIT_NAMES, ImageFiles, Indices, Listing, few, split_of
from transfer_cli.data.reading.paths import ExpectedPath, check_path
from transfer_cli.data.reading.walk import folders, inode_of, walk
from transfer_cli.errors import UserError, did_you_mean

PATH = ExpectedPath("folder of images")


@dataclass
class _Found:
    """Files as they are found, in order of split, class name and relative path."""

    root: Path
    keys: list[str] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    ignored: dict[str, str] = field(default_factory=dict)
    """What is no image, and what it is."""

    def add(self, folder: Path, label: int, barred: set[tuple[int, int]]) -> list[str]:
        """Append the images below `folder`; returns what there was instead if there are none."""
        below, before, others = os.path.relpath(folder, self.root), len(self.keys), []
        start = "" if below == "." else below + "/"
        for item in walk(folder, barred):
            if item.problem:
                self.ignored[start + item.key] = item.problem
                others.append(item.key)
            else:
                self.keys.append(start + item.key)
        self.labels += [label] * (len(self.keys) - before)
        return others if len(self.keys) == before else []


def load(dataset: Dataset) -> Listing:
    """The images under `dataset.path`; with `dataset.labels=none` without classes. Raises UserError as `scan` does."""
    return scan(check_path(dataset, PATH), labelled=dataset.labels == "classes")


def scan(root: Path, labelled: bool) -> Listing:
    """The images under `root`: train/ (val/, test/, or what others call these) with class folders, or these alone.

    Not `labelled`: all images at any depth, in train/ (val/, test/) or not, labels -1. Raises UserError naming the
    folder: without images, an empty class, a single class, a class that train/ does not have.
    """
    split_folders = _split_folders(root, labelled)
    classes = _classes(root, split_folders["train"]) if labelled else []
    found = _Found(root)
    splits: dict[str, Indices] = {}
    notes: list[str] = []
    for split, folder in split_folders.items():
        start = len(found.keys)
        notes += _list_split(folder, classes, found) if labelled else _list_unlabelled(folder, found)
        splits[split] = np.arange(start, len(found.keys))
    files = ImageFiles(str(root), found.keys)
    return Listing(
        classes=tuple(classes),
        keys=found.keys,
        labels=np.array(found.labels, dtype=np.int64),
        splits=splits,
        read=files.read,
        prefix=os.path.join(root, ""),
        files=True,
        encoded=files,
        notes=(*notes, *_notes(root, split_folders, found, labelled)),
    )


def _split_folders(root: Path, labelled: bool) -> dict[str, Path]:
    """The folder of each split that there is; a set without split folders is all "train"."""
    names = [entry.name for entry in folders(root)]
    found: dict[str, Path] = {}
    for split in SPLIT_NAMES:
        present = [name for name in names if split_of(name) == split]
        if len(present) > 1:
            raise UserError(f"dataset.path={root}: has {' and '.join(present)}; keep one {split} folder.")
        if present:
            found[split] = root / present[0]
    if "train" in found:
        return found
    if found and labelled:
        raise UserError(f"dataset.path={root}: has {few([p.name for p in found.values()])} but no train folder.")
    return {"train": root}


def _classes(root: Path, train: Path) -> list[str]:
    """Sorted class names: the subfolders of `train`."""
    classes = sorted(entry.name for entry in folders(train))
    if len(classes) == 0:
        raise UserError(
            f"dataset.path={root}: no class folders in {train}; one subfolder a class is expected "
            "(dataset.labels=none for images without classes)."
        )
    if len(classes) == 1:
        raise UserError(f"dataset.path={root}: only one class ({classes[0]}) in {train}; at least two are needed.")
    return classes


def _list_split(folder: Path, classes: list[str], found: _Found) -> list[str]:
    """Append the images of one split to `found`; returns a note on classes that have no folder in this split."""
    present = {entry.name for entry in folders(folder)}
    for name in sorted(present - set(classes)):
        hint = did_you_mean(name, classes)
        raise UserError(f"{folder / name}: this class is not in the train folder.{hint}")
    # A link back to the data set, to a folder above it or to another class must not add images under this label.
    barred = {inode_of(parent) for parent in (*folder.resolve().parents, folder)}
    barred |= {inode_of(folder / name) for name in present}
    for label, name in enumerate(classes):
        if name not in present:
            continue
        before = len(found.keys)
        others = found.add(folder / name, label, set(barred))
        if len(found.keys) == before:
            instead = f" (only {few(others)})" if others else ""
            raise UserError(f"{folder / name}: no images in this class folder{instead}. Add some or remove the folder.")
    absent = [name for name in classes if name not in present]
    return [f"{folder}: no images of {len(absent)} of the classes ({few(absent)})."] if absent else []


def _list_unlabelled(folder: Path, found: _Found) -> list[str]:
    """Append all images below `folder`; returns no notes."""
    before = len(found.keys)
    others = found.add(folder, -1, {inode_of(parent) for parent in (*folder.resolve().parents, folder)})
    if len(found.keys) == before:
        raise UserError(f"{folder}: no images in this folder" + (f" (only {few(others)})." if others else "."))
    return []


def _notes(root: Path, split_folders: dict[str, Path], found: _Found, labelled: bool) -> list[str]:
    """What a user may not expect of this folder."""
    notes = []
    if split_folders["train"] != root:
        if labelled:
            for split in ("val", "test"):
                if split not in split_folders:
                    notes.append(
                        f"{root}: no {split} folder; its images are cut from train by dataset.{split}_fraction."
                    )
        others = [entry.name for entry in folders(root) if root / entry.name not in split_folders.values()]
        if others:
            notes.append(f"{root}: folders beside train are ignored: {few(others)}.")
    for problem, count in sorted(Counter(found.ignored.values()).items()):
        names = [key for key, kind in found.ignored.items() if kind == problem]
        what = "files are no images and" if problem == "file" else f"{problem}(s)"
        notes.append(f"{root}: {count:,} {what} are ignored: {few(names)}.")
    return notes


def image_files(folder: Path) -> list[Path]:
    """Every image file below `folder`, by extension, in the order of a walk; hidden ones left out."""
    return [folder / item.key for item in walk(folder, {inode_of(folder)}) if not item.problem]
