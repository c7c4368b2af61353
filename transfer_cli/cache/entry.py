"""One entry of the cache: a folder of files and the description that makes it whole.

The description holds checksums, which a process compares before its first use of an entry: disks, copies and other
users change bytes.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import shutil
import time
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from transfer_cli.cache.sums import Sums, read
from transfer_cli.files import file_sha256, parsed_json

ABOUT = "entry.json"
UNFINISHED = ".filling-"

Key = dict[str, Any]


@dataclass(frozen=True)
class Entry:
    """One entry on disk."""

    kind: str
    path: Path
    key: Key
    bytes: int
    used: float
    """Seconds since 1970 of the last use."""


def digest(key: Key) -> str:
    """The address of a key: sha256 of its JSON, the first 32 hex digits."""
    text = json.dumps(key, sort_keys=True, ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def describe(folder: Path, key: Key, known: Mapping[str, tuple[str, int]] = MappingProxyType({})) -> None:
    """Everything to disk, then the description that makes the entry whole. Raises OSError.

    `known`: sha256 and CRC-32 of files that were hashed as they were written.
    """
    files = {}
    for file in sorted(path for path in folder.iterdir() if path.is_file() and path.name != ABOUT):
        with file.open("rb") as opened:
            os.fsync(opened.fileno())
        files[file.name] = (file.stat().st_size, *(known.get(file.name) or _sums(file)))
    text = json.dumps({"key": key, "files": files, "made": time.time()}, indent=1) + "\n"
    (folder / ABOUT).write_text(text, encoding="utf-8")


def read_entry(path: Path) -> Entry | None:
    """The entry in a folder; None where there is none."""
    about = _about(path)
    if about is None:
        return None
    size = sum(facts[0] for facts in about["files"].values())
    try:
        return Entry(path.parent.name, path, about["key"], size, (path / ABOUT).stat().st_mtime)
    except OSError:
        return None


def is_whole(path: Path) -> bool:
    """Whether the description is that of this entry, and all files are there at their sizes."""
    about = _about(path)
    if about is None or digest(about["key"]) != path.name:
        return False
    try:
        return all((path / name).stat().st_size == facts[0] for name, facts in about["files"].items())
    except OSError:
        return False


def damage(path: Path, *, quickly: bool = False, apart_from: str | None = None) -> str | None:
    """What is wrong with an entry's files, or None: each is read and compared with its checksum.

    By sha256, or quickly by CRC-32, which finds what happens by accident. `apart_from` names a file whose parts have
    checksums of their own, for whoever reads them. Raises OSError for a file that cannot be read.
    """
    about = _about(path)
    if about is None:
        return f"{ABOUT} cannot be read"
    if digest(about["key"]) != path.name:
        return f"{ABOUT} has changed"
    for name, (size, sha256, *crc32) in about["files"].items():
        file = path / name
        if not file.is_file():
            return f"{name} is missing"
        if file.stat().st_size != size:
            return f"{name} has changed"
        if name != apart_from and not _is_same(file, sha256, crc32 if quickly else []):
            return f"{name} has changed"
    return None


def remove(path: Path) -> None:
    """Delete an entry; readers that have its files open keep them. Raises OSError where it may not be deleted."""
    # Renamed first: a half deleted folder under its own name would look whole.
    doomed = path.with_name(f"{UNFINISHED}{path.name}-{secrets.token_hex(4)}")
    try:
        path.rename(doomed)
    except FileNotFoundError:
        return
    shutil.rmtree(doomed, ignore_errors=True)


def touch(path: Path) -> None:
    """Mark an entry as used just now. A cache that this user may only read serves as well."""
    with contextlib.suppress(OSError):
        os.utime(path / ABOUT)


def age_seconds(path: Path) -> float:
    """Since a file, or the newest of a folder's files, was written; 0 where that cannot be told."""
    try:
        inside = path.iterdir() if path.is_dir() else []
        newest = max(file.stat().st_mtime for file in [path, *inside])
        return time.time() - newest
    except OSError:
        return 0.0


def folder_bytes(path: Path) -> int:
    """Of all files in a folder; of those that vanish meanwhile, none."""
    total = 0
    for file in path.rglob("*"):
        with contextlib.suppress(OSError):
            total += file.stat().st_size if file.is_file() else 0
    return total


def _about(path: Path) -> dict[str, Any] | None:
    """The description of an entry; None where there is none that could be one."""
    try:
        about = parsed_json((path / ABOUT).read_text(encoding="utf-8"))
        key, files = about["key"], about["files"]
        fits = isinstance(key, dict) and all(
            isinstance(size, int) and isinstance(sha256, str) and all(isinstance(one, int) for one in crc32)
            for size, sha256, *crc32 in files.values()
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return about if fits else None


def _is_same(file: Path, sha256: str, crc32: list[int]) -> bool:
    """By CRC-32 where it is known: entries of earlier versions have sha256 alone."""
    return _crc32(file) == crc32[0] if crc32 else file_sha256(file) == sha256


def _sums(path: Path) -> tuple[str, int]:
    """Sha256 and CRC-32 of a file that is read once."""
    sums = Sums()
    with path.open("rb") as file:
        for block in read(file):
            sums.add(block)
    return sums.sha256, sums.crc32


def _crc32(path: Path) -> int:
    value = 0
    with path.open("rb") as file:
        for block in read(file):
            value = zlib.crc32(block, value)
    return value
