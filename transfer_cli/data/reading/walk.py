"""Walks through folders that may hold anything: links in circles, pipes, dead links, a thousand levels."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from transfer_cli.data.reading.decode import EXTENSIONS
from transfer_cli.errors import UserError

Inode = tuple[int, int]


class Item(NamedTuple):
    """What a walk meets: its path below the start, and what is the matter if it is no image ("" if it is one)."""

    key: str
    problem: str


def walk(folder: Path | str, seen: set[Inode]) -> Iterator[Item]:
    """All files below `folder`, by name, a folder's own before its subfolders'; hidden ones are left out.

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
                yield Item(key, kind if kind != "file" or os.path.splitext(key)[1].lower() not in EXTENSIONS else "")
        waiting += reversed(subfolders)


def entries(folder: Path | str) -> list[os.DirEntry[str]]:
    """What is in `folder`, sorted by name, without hidden entries. Raises UserError where it cannot be listed."""
    try:
        with os.scandir(folder) as found:
            return sorted((e for e in found if not e.name.startswith(".")), key=lambda entry: entry.name)
    except OSError as error:
        raise UserError(f"{folder}: cannot be listed ({error.strerror}).") from None


def folders(folder: Path | str) -> list[os.DirEntry[str]]:
    """The visible subfolders of `folder`, links to folders included."""
    return [entry for entry in entries(folder) if kind_of(entry) == "folder"]


def kind_of(entry: os.DirEntry[str]) -> str:
    """ "folder", "file", "dead link" or "special file" (a pipe, a socket, a device)."""
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
