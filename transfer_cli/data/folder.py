"""Folders of images: class = subfolder name, with or without train/val/test above. Only ever reads."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from transfer_cli import errors
from transfer_cli.data.decode import EXTENSIONS, open_image
from transfer_cli.data.found import Found, Indices
from transfer_cli.errors import UserError

_SPLIT_FOLDERS = {"train": ("train",), "val": ("val", "valid", "validation"), "test": ("test",)}

Inode = tuple[int, int]


@dataclass
class _Listing:
    """Files as they are found, in order of split, class name and relative path."""

    keys: list[str] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)
    """Files that are no images by their extension."""


def scan(path: str | None) -> Found:
    """The images under `path`: train/ (val/, test/) with class folders, or class folders alone.

    Raises UserError naming the folder: missing, without images, an empty class, a single class, a class that train/
    does not have.
    """
    root = _existing_folder(path)
    folders = _split_folders(root)
    classes = _classes(root, folders["train"])
    listing = _Listing()
    splits: dict[str, Indices] = {}
    notes: list[str] = []
    for split, folder in folders.items():
        start = len(listing.keys)
        absent = _list_split(root, folder, classes, listing)
        splits[split] = np.arange(start, len(listing.keys))
        if absent:
            notes.append(f"{folder}: no images of {len(absent)} of the classes ({_few(absent)}).")
    notes += _notes(root, folders, listing)
    return Found(
        classes=tuple(classes),
        keys=listing.keys,
        labels=np.array(listing.labels, dtype=np.int64),
        splits=splits,
        read=partial(_read, str(root), listing.keys),
        prefix=os.path.join(root, ""),
        files=True,
        notes=tuple(notes),
    )


def _read(root: str, keys: list[str], index: int) -> Image.Image:
    """Decode one file."""
    return open_image(os.path.join(root, keys[index]))


def _existing_folder(path: str | None) -> Path:
    """`path` as a folder that exists; the error for a missing one names its nearest sibling."""
    if not path:
        raise UserError("dataset.path is not set: say where the images are, dataset.path=<folder>.")
    root = Path(path).expanduser()
    if root.is_dir():
        return root
    if root.exists():
        raise UserError(f"dataset.path={path}: not a folder.")
    parent = next(parent for parent in root.absolute().parents if parent.is_dir())
    message = f"dataset.path={path}: no such folder."
    missing = root.absolute().relative_to(parent).parts[0]
    near = errors.nearest(missing, [entry.name for entry in _folders(parent)])
    if near:
        message += f" Did you mean {' or '.join(str(parent / name) for name in near)}?"
    elif parent != root.absolute().parent:
        message += f" The nearest existing folder is {parent}."
    raise UserError(message)


def _split_folders(root: Path) -> dict[str, Path]:
    """The folder of each split that there is; a flat set of class folders is all "train"."""
    names = {entry.name for entry in _folders(root)}
    found: dict[str, Path] = {}
    for split, aliases in _SPLIT_FOLDERS.items():
        present = [alias for alias in aliases if alias in names]
        if len(present) > 1:
            raise UserError(f"dataset.path={root}: has {' and '.join(present)}; keep one {split} folder.")
        if present:
            found[split] = root / present[0]
    if not found:
        return {"train": root}
    if "train" not in found:
        raise UserError(f"dataset.path={root}: has {_few([p.name for p in found.values()])} but no train folder.")
    return found


def _classes(root: Path, train: Path) -> list[str]:
    """Sorted class names: the subfolders of `train`."""
    classes = sorted(entry.name for entry in _folders(train))
    if len(classes) == 0:
        raise UserError(f"dataset.path={root}: no class folders in {train}; one subfolder a class is expected.")
    if len(classes) == 1:
        raise UserError(f"dataset.path={root}: only one class ({classes[0]}) in {train}; at least two are needed.")
    return classes


def _list_split(root: Path, folder: Path, classes: list[str], listing: _Listing) -> list[str]:
    """Append the images of one split to `listing`; returns classes that have no folder in this split."""
    present = {entry.name for entry in _folders(folder)}
    for name in sorted(present - set(classes)):
        near = errors.nearest(name, classes)
        hint = f" Did you mean {' or '.join(near)}?" if near else ""
        raise UserError(f"{folder / name}: this class is not in the train folder.{hint}")
    # A link back to the data set, to a folder above it or to another class must not add images under this label.
    barred = {_inode(parent) for parent in (*folder.resolve().parents, folder)}
    barred |= {_inode(folder / name) for name in present}
    for label, name in enumerate(classes):
        if name not in present:
            continue
        before = len(listing.keys)
        for file in _walk(folder / name, set(barred)):
            key = os.path.relpath(file, root)
            if os.path.splitext(file)[1].lower() in EXTENSIONS:
                listing.keys.append(key)
                listing.labels.append(label)
            else:
                listing.ignored.append(key)
        if len(listing.keys) == before:
            raise UserError(f"{folder / name}: no images in this class folder. Add some or remove the folder.")
    return [name for name in classes if name not in present]


def _walk(folder: Path | str, seen: set[Inode]) -> Iterator[str]:
    """Files below `folder`, sorted, hidden ones left out; folders in `seen` are not entered (link loops)."""
    subfolders = []
    for entry in _entries(folder):
        if entry.is_dir():
            subfolders.append(entry.path)
        elif entry.is_file():
            yield entry.path
    for subfolder in subfolders:
        inode = _inode(subfolder)
        if inode not in seen:
            seen.add(inode)
            yield from _walk(subfolder, seen)


def _entries(folder: Path | str) -> list[os.DirEntry[str]]:
    """What is in `folder`, sorted by name, without hidden entries."""
    try:
        with os.scandir(folder) as entries:
            return sorted((e for e in entries if not e.name.startswith(".")), key=lambda entry: entry.name)
    except OSError as error:
        raise UserError(f"{folder}: cannot be listed ({error.strerror}).") from None


def _folders(folder: Path) -> list[os.DirEntry[str]]:
    """The visible subfolders of `folder`, links to folders included."""
    return [entry for entry in _entries(folder) if entry.is_dir()]


def _inode(folder: Path | str) -> Inode:
    """What identifies a folder, whichever link leads there."""
    status = os.stat(folder)
    return status.st_dev, status.st_ino


def _notes(root: Path, folders: dict[str, Path], listing: _Listing) -> list[str]:
    """What a user may not expect of this folder."""
    notes = []
    if folders["train"] != root:
        for split in ("val", "test"):
            if split not in folders:
                notes.append(f"{root}: no {split} folder; its images are cut from train by dataset.{split}_fraction.")
        others = [entry.name for entry in _folders(root) if root / entry.name not in folders.values()]
        if others:
            notes.append(f"{root}: folders beside train are ignored: {_few(others)}.")
    if listing.ignored:
        notes.append(f"{root}: {len(listing.ignored)} files are no images and are ignored: {_few(listing.ignored)}.")
    return notes


def _few(names: list[str]) -> str:
    """Up to three names."""
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")


def image_files(folder: Path) -> list[Path]:
    """Every image file below `folder`, by extension, sorted; hidden ones left out."""
    files = _walk(folder, {_inode(folder)})
    return [Path(file) for file in files if os.path.splitext(file)[1].lower() in EXTENSIONS]
