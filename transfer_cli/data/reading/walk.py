"""Walks through folders that may hold anything: links in circles, pipes, dead links, a thousand levels."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from transfer_cli.data.reading.clutter import HIDDEN_COPIES, is_clutter
from transfer_cli.data.reading.decode import EXTENSIONS
from transfer_cli.errors import UserError

Inode = tuple[int, int]


class Item(NamedTuple):
    """What a walk meets: its path below the start, and what is the matter if it is no image ("" if it is one)."""

    key: str
    problem: str


def walk(folder: Path | str, seen: set[Inode]) -> Iterator[Item]:
    """All files below `folder`, by name, a folder's own before its subfolders'; hidden ones are left out.

    A folder that is no part of any set, such as @eaDir, is one item, and its files are none.

    Folders in `seen` are not entered, and those entered are added to it: links may go in circles.
    """
    waiting = [""]
    while waiting:
        below = waiting.pop()
        subfolders = []
        for entry in entries(os.path.join(folder, below)):
            key = below + entry.name
            kind = kind_of(entry)
            if kind == "folder":
                inode = inode_of(entry.path)
                if inode not in seen:
                    seen.add(inode)
                    subfolders.append(key + "/")
            else:
                yield Item(key, "" if kind == "file" and is_image(entry.name) else kind)
        waiting += reversed(subfolders)


def entries(folder: Path | str) -> list[os.DirEntry[str]]:
    """What is in `folder`, sorted by name, without hidden entries. Raises UserError where it cannot be listed."""
    try:
        with os.scandir(folder) as found:
            visible = (e for e in found if not e.name.startswith(".") or e.name == HIDDEN_COPIES)
            return sorted(visible, key=lambda entry: entry.name)
    except OSError as error:
        raise UserError(f"{folder}: cannot be listed ({error.strerror}).") from None


def folders(folder: Path | str) -> list[os.DirEntry[str]]:
    """The visible subfolders of `folder`, links to folders included."""
    return [entry for entry in entries(folder) if kind_of(entry) == "folder"]


def is_image(name: str) -> bool:
    """Whether a file's name ends as an image's."""
    return os.path.splitext(name)[1].lower() in EXTENSIONS


def holds_images(folder: Path | str) -> bool:
    """Whether there are images right in `folder`, told at the first. Raises UserError where it cannot be listed."""
    try:
        with os.scandir(folder) as found:
            return any(is_loose_image(entry) for entry in found)
    except OSError as error:
        raise UserError(f"{folder}: cannot be listed ({error.strerror}).") from None


def is_loose_image(entry: os.DirEntry[str]) -> bool:
    """Whether what a folder holds is an image, and not hidden."""
    return not entry.name.startswith(".") and is_image(entry.name) and kind_of(entry) == "file"


def kind_of(entry: os.DirEntry[str]) -> str:
    """ "folder", "system folder" (no part of any set), "file", "dead link" or "special file" (a pipe, a device)."""
    kind = _kind_of(entry)
    return "system folder" if kind == "folder" and is_clutter(entry.name) else kind


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
