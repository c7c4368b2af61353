"""Folders of images: class = subfolder name, with or without train/val/test above. Only ever reads."""

from __future__ import annotations

import os
import unicodedata
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from transfer_cli.config.schema import Dataset
from transfer_cli.data.reading import idx
from transfer_cli.data.reading.decode import is_array_file, is_picture, what_else
from transfer_cli.data.reading.kinds import CHANNELS_HINT, HEIC_HINT, is_array, is_heic
from transfer_cli.data.reading.layout import Layout, find
from transfer_cli.data.reading.listing import ImageFiles, Indices, Listing, few
from transfer_cli.data.reading.paths import ExpectedPath, check_path
from transfer_cli.data.reading.walk import ARRAY, HEIC, entries, folders, inode_of, is_loose_image, kind_of, walk
from transfer_cli.errors import UserError, counted, did_you_mean

PATH = ExpectedPath("folder of images")

_LOOKED_AT = 100
"""Files whose content is looked at before they are said to be no images."""


@dataclass
class _Found:
    """Files as they are found, in order of split, class name and relative path."""

    root: Path
    arrays: bool
    """Whether NumPy arrays and DICOM files are images."""
    keys: list[str] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    ignored: dict[str, str] = field(default_factory=dict)
    """What is no image, and what it is."""

    def add(self, folder: Path, label: int, barred: set[tuple[int, int]]) -> list[str]:
        """Append the images below `folder`; returns what there was instead if there are none."""
        below, before, others = os.path.relpath(folder, self.root), len(self.keys), []
        start = "" if below == "." else below + "/"
        for item in walk(folder, barred):
            if item.problem and not (item.problem == ARRAY and self.arrays):
                self.ignored[start + item.key] = item.problem
                others.append(item.key)
            else:
                self.keys.append(start + item.key)
        self.labels += [label] * (len(self.keys) - before)
        return others if len(self.keys) == before else []


def load(dataset: Dataset) -> Listing:
    """The images under `dataset.path`; with `dataset.labels=none` without classes. Raises UserError as `scan` does."""
    arrays = dataset.channels is not None
    return scan(check_path(dataset, PATH), labelled=dataset.labels == "classes", arrays=arrays)


def scan(root: Path, labelled: bool, arrays: bool = False) -> Listing:
    """The images under `root`: train/ (val/, test/, or what others call these) with class folders, or these alone,
    or a folder that wraps them.

    `arrays`: NumPy arrays and DICOM files are images. Not `labelled`: all images at any depth, in train/ (val/, test/)
    or not, labels -1. Raises UserError naming the folder: without images, an empty class, a single class, a class that
    train/ does not have.
    """
    layout = find(root, labelled)
    classes = _classes(root, layout.splits["train"]) if labelled else []
    found = _Found(layout.root, arrays)
    splits: dict[str, Indices] = {}
    notes = [*layout.notes]
    for split, folder in layout.splits.items():
        start = len(found.keys)
        notes += _list_split(folder, classes, found) if labelled else _list_unlabelled(folder, found)
        splits[split] = np.arange(start, len(found.keys))
    files = ImageFiles(str(layout.root), found.keys)
    return Listing(
        classes=tuple(classes),
        keys=found.keys,
        labels=np.array(found.labels, dtype=np.int64),
        splits=splits,
        read=files.read,
        prefix=os.path.join(layout.root, ""),
        files=True,
        encoded=files,
        notes=(*notes, *_notes(layout, found, labelled)),
    )


def _classes(root: Path, train: Path) -> list[str]:
    """Sorted class names: the subfolders of `train`."""
    classes = sorted(entry.name for entry in folders(train))
    if len(classes) == 0:
        idx_hint = " Its idx files are read by dataset=mnist or dataset=fashion_mnist." if idx.find([train]) else ""
        raise UserError(
            f"dataset.path={root}: no class folders in {train}; one subfolder a class is expected "
            f"(dataset.labels=none for images without classes).{idx_hint}"
        )
    if len(classes) == 1:
        raise UserError(f"dataset.path={root}: only one class ({classes[0]}) in {train}; at least two are needed.")
    return classes


def _list_split(folder: Path, classes: list[str], found: _Found) -> list[str]:
    """Append the images of one split to `found`; returns notes on classes that have no folder of their name here."""
    present = {entry.name for entry in folders(folder)}
    folder_of = {name: name if name in present else _same_to_see(name, present - {*classes}) for name in classes}
    for name in sorted(present - {*folder_of.values()}):
        hint = did_you_mean(name, classes)
        raise UserError(f"{folder / name}: this class is not in the train folder.{hint}")
    # A link back to the data set, to a folder above it or to another class must not add images under this label.
    barred = {inode_of(parent) for parent in (*folder.resolve().parents, folder)}
    barred |= {inode_of(folder / name) for name in present}
    for label, name in enumerate(classes):
        own = folder_of[name]
        if own is None:
            continue
        before = len(found.keys)
        others = found.add(folder / own, label, set(barred))
        if len(found.keys) == before:
            instead = f" (only {few(others)})" if others else ""
            hint = f" {HEIC_HINT}." if any(map(is_heic, others)) else ""
            hint += f" {CHANNELS_HINT}." if any(map(is_array, others)) and not found.arrays else ""
            raise UserError(
                f"{folder / own}: no images in this class folder{instead}. Add some or remove the folder.{hint}"
            )
    absent = [name for name in classes if folder_of[name] is None]
    respelt = [name for name in classes if folder_of[name] not in (None, name)]
    notes = [f"{folder}: no images of {len(absent)} of the classes ({few(absent)})."] if absent else []
    if respelt:
        notes.append(f"{folder}: {few(respelt)} is spelt with accents encoded otherwise; taken for the same class.")
    return notes


def _same_to_see(name: str, others: set[str]) -> str | None:
    """The one of `others` that looks just like `name`: macOS takes accents apart in the names of files."""
    alike = [other for other in others if unicodedata.normalize("NFC", other) == unicodedata.normalize("NFC", name)]
    return alike[0] if len(alike) == 1 else None


def _list_unlabelled(folder: Path, found: _Found) -> list[str]:
    """Append all images below `folder`; returns no notes."""
    before = len(found.keys)
    others = found.add(folder, -1, {inode_of(parent) for parent in (*folder.resolve().parents, folder)})
    if len(found.keys) == before:
        raise UserError(f"{folder}: no images in this folder" + (f" (only {few(others)})." if others else "."))
    return []


def _notes(layout: Layout, found: _Found, labelled: bool) -> list[str]:
    """What a user may not expect of this folder."""
    root, notes = layout.root, []
    if layout.splits["train"] != root:
        if labelled:
            for split in ("val", "test"):
                if split not in layout.splits and split not in layout.without_classes:
                    notes.append(
                        f"{root}: no {split} folder; its images are cut from train by dataset.{split}_fraction."
                    )
        used = {
            folder.relative_to(root).parts[0] for folder in (*layout.splits.values(), *layout.without_classes.values())
        }
        others = [entry.name for entry in folders(root) if entry.name not in used]
        if others:
            notes.append(f"{root}: folders beside train are ignored: {few(others)}.")
    for folder in layout.passed:
        notes += _beside_classes(folder, found, "class" if labelled else "split")
    for problem, count in sorted(Counter(found.ignored.values()).items()):
        names = [key for key, kind in found.ignored.items() if kind == problem]
        what = "files are no images and" if problem == "file" else f"{problem}(s)"
        hint = {HEIC: f" ({HEIC_HINT})", ARRAY: f" ({CHANNELS_HINT})"}.get(problem, "")
        pictures = [key for key in names[:_LOOKED_AT] if is_picture(root / key)] if problem == "file" else []
        if pictures:
            what = "files do not end as images do and"
            hint = f" (pictures by their content, to be used under a name such as x.png: {few(pictures)})"
        notes.append(f"{root}: {count:,} {what} are ignored: {few(names)}{hint}.")
    return notes


def _beside_classes(folder: Path, found: _Found, kind: str) -> list[str]:
    """A note on the images right in a folder of class or split folders; what else is no part of the set is `found`."""
    here = entries(folder)
    below = os.path.relpath(folder, found.root)
    for entry in here:
        if kind_of(entry) == "system folder":
            found.ignored[os.path.normpath(os.path.join(below, entry.name))] = "system folder"
    loose = [entry.name for entry in here if is_loose_image(entry, arrays=found.arrays)]
    verb = "is" if len(loose) == 1 else "are"
    what = f"{counted(len(loose), 'image')} beside the {kind} folders {verb} left out"
    return [f"{folder}: {what}: {few(loose)}."] if loose else []


def pictures_below(folder: Path, arrays: bool = False) -> tuple[list[Path], dict[str, list[str]]]:
    """Every picture below `folder` in the order of a walk, by its content where its name does not say so; and what is
    left out: kinds of things, with the paths of each. `arrays`: NumPy arrays and DICOM files are pictures.
    """
    pictures: list[Path] = []
    others: dict[str, list[str]] = {}
    for item in walk(folder, {inode_of(folder)}, hidden=True):
        file = folder / item.key
        by_content = item.problem in ("file", HEIC, ARRAY)
        if not item.problem or (by_content and ((arrays and is_array_file(file)) or is_picture(file))):
            pictures.append(file)
        else:
            kind = (what_else(file) or "no image") if by_content else item.problem
            others.setdefault(kind, []).append(item.key)
    return pictures, others
