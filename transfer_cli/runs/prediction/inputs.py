"""Which images `input` means, in which order, each once: a file, a folder, a pattern, a list, or standard input."""

from __future__ import annotations

import glob
import os
import re
import select
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from transfer_cli.config.using import STREAM
from transfer_cli.data.reading.listing import few
from transfer_cli.data.sources.folder import pictures_below
from transfer_cli.data.sources.manifest import is_table, paths_in
from transfer_cli.errors import UserError, counted

_LISTED_FILES = 50
_MATCHES_INSIDE = re.compile(r"(^|/)\*\*(/\*)?$")
"""A pattern that matches what is in the folders that it matches, too."""
_LISTS = (".txt", ".lst", ".list")
_MOST_AT_ONCE = 1024
"""Paths of standard input that are worked on together at most; fewer where no more have come."""
_READ_BYTES = 2**16


class Item(NamedTuple):
    """An image to label: what to call it, and where it is."""

    name: str
    file: str


@dataclass(frozen=True)
class Input:
    """The images in parts: all of them at once, or as they come."""

    parts: Iterable[list[Item]]
    total: int | None
    """How many there are; None where nobody knows yet."""
    stem: str
    """What to call a file of results."""
    left_out: int = 0
    """What was found and is no image."""


def find(source: str, warn: Callable[[str], None], *, arrays: bool) -> Input:
    """What `input=source` means; `warn` is told what is left out. `arrays`: NumPy and DICOM files are images, too.

    Raises UserError where it means no image.
    """
    if source == STREAM:
        if sys.stdin is None:
            raise UserError(f"input={STREAM}: standard input is closed; pipe paths into the command.")
        return Input(_each_once(_streamed(sys.stdin.fileno()), warn), None, "stdin")
    path = Path(source).expanduser()
    if glob.has_magic(source) and not path.exists():
        return _listed(_matches(source, warn, arrays), "matches", warn)
    if path.is_dir():
        return _folder(path, warn, arrays)
    if is_table(path):
        cells, notes = paths_in(path)
        for note in notes:
            warn(note)
        return _rows(path, cells, warn)
    if path.suffix.lower() in _LISTS:
        return _listed(_beside(path, _lines(path)), path.stem, warn)
    return Input([[Item(str(path), str(path))]], 1, path.resolve().stem)


def _folder(folder: Path, warn: Callable[[str], None], arrays: bool) -> Input:
    files, others = pictures_below(folder, arrays)
    if not files:
        seen = "; ".join(_kinds(others))
        raise UserError(f"input={folder}: no image files in this folder" + (f" ({seen})." if seen else "."))
    for kind in _kinds(others):
        warn(f"left out: {kind}")
    pictures = [Item(str(file), str(file)) for file in files]
    return Input([pictures], len(pictures), folder.resolve().name, sum(map(len, others.values())))


def _kinds(others: dict[str, list[str]]) -> list[str]:
    """How many things there are of each kind, and which."""
    return [f"{len(names):,} ({kind}): {few(names, _LISTED_FILES)}" for kind, names in others.items()]


def _matches(pattern: str, warn: Callable[[str], None], arrays: bool) -> list[Item]:
    """Files that a pattern matches, by name, and the images in folders that it matches."""
    found: list[Item] = []
    matches_inside = _MATCHES_INSIDE.search(pattern)
    for path in sorted(glob.glob(os.path.expanduser(pattern), recursive=True)):
        if not os.path.isdir(path):
            found.append(Item(path, path))
        elif not matches_inside:
            files, others = pictures_below(Path(path), arrays)
            found += [Item(str(file), str(file)) for file in files]
            for kind in _kinds(others):
                warn(f"{path}: left out: {kind}")
    if not found:
        raise UserError(f"input={pattern}: no files match this pattern, only folders without images.")
    return found


def _rows(file: Path, cells: list[str], warn: Callable[[str], None]) -> Input:
    """The rows of a table; those without a path are no images, and said. Raises UserError where none has one."""
    empty = sum(not cell.strip() for cell in cells)
    if empty == len(cells):
        raise UserError(f"input={file}: its rows have no path.")
    if empty:
        warn(f"left out: {counted(empty, 'row')} of {file} without a path")
    return replace(_listed(_beside(file, cells), file.stem, warn), left_out=empty)


def _lines(file: Path) -> list[str]:
    """The lines of a text file of paths, blank ones left out. Raises UserError where there are none."""
    try:
        data = file.read_bytes().removeprefix(b"\xef\xbb\xbf")
    except OSError as error:
        raise UserError(f"input={file}: cannot be read ({error.strerror}).") from None
    lines = _paths_of(data.replace(b"\0", b"\n").split(b"\n"))
    if not lines:
        raise UserError(f"input={file}: no paths in this file; one a line is expected.")
    return lines


def _beside(file: Path, names: list[str]) -> list[Item]:
    """Paths of a list, relative to it or, where nothing is there, to the current folder."""
    beside = [os.path.join(file.parent, name) for name in names]
    return [
        Item(name, there if os.path.exists(there) or not os.path.exists(name) else name)
        for name, there in zip(names, beside, strict=True)
        if name.strip()
    ]


def _listed(pictures: list[Item], stem: str, warn: Callable[[str], None]) -> Input:
    (once,) = _each_once([pictures], warn)
    return Input([once], len(once), stem)


def _each_once(parts: Iterable[list[Item]], warn: Callable[[str], None]) -> Iterator[list[Item]]:
    """Each file at its first place; how often others came again is said at the end."""
    seen: set[str] = set()
    repeated = 0
    for part in parts:
        fresh = []
        for picture in part:
            place = os.path.abspath(picture.file)
            if place not in seen:
                seen.add(place)
                fresh.append(picture)
        repeated += len(part) - len(fresh)
        yield fresh
    if repeated:
        warn(f"{repeated:,} of the paths came before and are labelled once")


def _streamed(descriptor: int) -> Iterator[list[Item]]:
    """Paths as they come, one a line (or behind NUL bytes, as find -print0 writes them)."""
    rest, waiting = b"", list[str]()
    while data := os.read(descriptor, _READ_BYTES):
        *lines, rest = (rest + data).replace(b"\0", b"\n").split(b"\n")
        waiting += _paths_of(lines)
        while waiting and (len(waiting) >= _MOST_AT_ONCE or not select.select([descriptor], [], [], 0)[0]):
            yield [Item(name, name) for name in waiting[:_MOST_AT_ONCE]]
            del waiting[:_MOST_AT_ONCE]
    waiting += _paths_of([rest])
    for first in range(0, len(waiting), _MOST_AT_ONCE):
        yield [Item(name, name) for name in waiting[first : first + _MOST_AT_ONCE]]


def _paths_of(lines: list[bytes]) -> list[str]:
    return [os.fsdecode(line.removesuffix(b"\r")) for line in lines if line.strip()]
