"""Walks through folders that may hold anything: links in circles, pipes, dead links, a thousand levels."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from transfer_cli.data.reading.kinds import is_array, is_heic, is_image
from transfer_cli.errors import UserError

Inode = tuple[int, int]

HEIC = "HEIC picture"
"""What is the matter with one where nothing is installed that reads it."""

ARRAY = "NumPy or DICOM file"
"""Likewise, where no channels are asked for."""

_HIDDEN_COPIES = ".ipynb_checkpoints"
"""Hidden like others, but it holds copies of a user's own files: worth a word."""

_CLUTTER = frozenset(
    {"@eadir", "@recycle", "#recycle", "@recently-snapshot", "#snapshot", "@tmp", "@__thumb"}  # storage boxes
    | {"$recycle.bin", "system volume information", "found.000", "lost+found", "lost.dir"}  # file systems
    | {"__macosx", "__pycache__", _HIDDEN_COPIES, "thumbnails", "thumbnail"}  # programs
)


_RUNS = {
    "runs": "environment.json",
    "sweeps": "leaderboard.csv",
    "auto": "auto.json",
    "compare": "compare.json",
    "ranks": "rank.csv",
}
"""What `output_dir` holds: kinds of results, and a file of each."""


class Item(NamedTuple):
    """What a walk meets: its path below the start, and what is the matter if it is no image ("" if it is one)."""

    key: str
    problem: str


def walk(folder: Path | str, seen: set[Inode], *, hidden: bool = False) -> Iterator[Item]:
    """All files below `folder`, by name, a folder's own before its subfolders'; hidden ones are left out.

    A folder that is no part of any set, such as @eaDir, is one item, and its files are none; with `hidden`, so is what
    is hidden. Folders in `seen` are not entered, and those entered are added to it: links may go in circles.
    """
    waiting = [""]
    while waiting:
        below = waiting.pop()
        subfolders = []
        for entry in entries(os.path.join(folder, below), hidden=hidden):
            key = below + entry.name
            kind = "hidden file" if _is_hidden(entry) else kind_of(entry)
            if kind == "folder":
                inode = inode_of(entry.path)
                if inode not in seen:
                    seen.add(inode)
                    subfolders.append(key + "/")
            else:
                yield Item(key, _problem(entry.name, kind))
        waiting += reversed(subfolders)


def _problem(name: str, kind: str) -> str:
    """What is the matter with something that is no folder, "" for an image."""
    if kind != "file":
        return kind
    return "" if is_image(name) else HEIC if is_heic(name) else ARRAY if is_array(name) else kind


def _is_hidden(entry: os.DirEntry[str]) -> bool:
    return entry.name.startswith(".") and entry.name != _HIDDEN_COPIES


def entries(folder: Path | str, *, hidden: bool = False) -> list[os.DirEntry[str]]:
    """What is in `folder`, by name; hidden entries only if `hidden`. Raises UserError where it cannot be listed."""
    try:
        with os.scandir(folder) as found:
            return sorted((e for e in found if hidden or not _is_hidden(e)), key=lambda entry: entry.name)
    except OSError as error:
        raise UserError(f"{folder}: cannot be listed ({error.strerror}).") from None


def folders(folder: Path | str) -> list[os.DirEntry[str]]:
    """The visible subfolders of `folder` by name, links to folders included. Raises UserError as `entries` does."""
    try:
        with os.scandir(folder) as found:
            visible = [entry for entry in found if not _is_hidden(entry) and kind_of(entry) == "folder"]
    except OSError as error:
        raise UserError(f"{folder}: cannot be listed ({error.strerror}).") from None
    return sorted(visible, key=lambda entry: entry.name)


def holds_images(folder: Path | str) -> bool:
    """Whether there are images right in `folder`, told at the first. Raises UserError where it cannot be listed."""
    try:
        with os.scandir(folder) as found:
            return any(is_loose_image(entry) for entry in found)
    except OSError as error:
        raise UserError(f"{folder}: cannot be listed ({error.strerror}).") from None


def is_loose_image(entry: os.DirEntry[str], *, arrays: bool = False) -> bool:
    """Whether what a folder holds is an image, with `arrays` also an array, and not hidden."""
    named = is_image(entry.name) or (arrays and is_array(entry.name))
    return not entry.name.startswith(".") and named and kind_of(entry) == "file"


def is_clutter(folder: str) -> bool:
    """Whether a folder of this name holds copies, thumbnails or what was thrown away."""
    return folder.lower() in _CLUTTER


def kind_of(entry: os.DirEntry[str]) -> str:
    """ "folder", "system folder" (no part of any set), "file", "dead link" or "special file" (a pipe, a device)."""
    kind = _kind_of(entry)
    return "system folder" if kind == "folder" and (is_clutter(entry.name) or _holds_runs(entry.path)) else kind


def _holds_runs(folder: str) -> bool:
    """Whether a folder is where runs go: started among the class folders, they would be one with their plots."""
    named = folder.endswith("/outputs")
    for kind, mark in _RUNS.items():
        if kind != "runs" and not named:
            break  # of thousands of class folders, each is asked once
        results = os.path.join(folder, kind)
        if not os.path.isdir(results):
            continue
        try:
            with os.scandir(results) as runs:
                if any(os.path.isfile(os.path.join(run.path, mark)) for run in runs):
                    return True
        except OSError:
            continue
    return False


def _kind_of(entry: os.DirEntry[str]) -> str:
    """The same without a look at names."""
    try:
        # Without a link, scandir knows already; a million files are not worth a million system calls.
        if not entry.is_symlink():
            return "folder" if entry.is_dir() else "file" if entry.is_file() else "special file"
        mode = entry.stat().st_mode
    except OSError:  # a target that is gone, may not be seen, or is the link itself
        return "dead link"
    return "folder" if stat.S_ISDIR(mode) else "file" if stat.S_ISREG(mode) else "special file"


def inode_of(folder: Path | str) -> Inode:
    """What identifies a folder, whichever link leads there. Raises UserError where it cannot be seen."""
    try:
        status = os.stat(folder)
    except OSError as error:
        raise UserError(f"{folder}: cannot be read ({error.strerror}).") from None
    return status.st_dev, status.st_ino
