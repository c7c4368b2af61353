"""Images that are in two splits at once: they make a test score look better than it is."""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from collections.abc import Callable, Hashable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

CHECK_UP_TO = 50_000
_TAIL_BYTES = 4096


def across_splits(root: str, keys: Sequence[str], splits: Mapping[str, NDArray[np.int64]]) -> list[str]:
    """A note if files of different splits have the same bytes, else nothing.

    Sizes are compared first, then a file's last bytes, then sha256, so that few files are read in full. Above
    CHECK_UP_TO files of equal size the check would delay every start; the note then says that it was left out.
    """
    if len(splits) < 2:
        return []
    members = [(split, os.path.join(root, keys[index])) for split, indices in splits.items() for index in indices]
    groups = _regroup([members], os.path.getsize)
    candidates = sum(len(group) for group in groups)
    if candidates > CHECK_UP_TO:
        return [f"{root}: not checked for equal files in two splits ({candidates} files have candidates)."]
    groups = _regroup(_regroup(groups, _tail), _digest)
    if not groups:
        return []
    first: dict[str, str] = {}
    for split, path in groups[0]:
        first.setdefault(split, path)
    example = " and ".join(os.path.relpath(path, root) for path in first.values())
    return [f"{root}: {len(groups)} image(s) are in more than one split, for instance {example}."]


def _regroup(groups: list[list[tuple[str, str]]], key: Callable[[str], Hashable]) -> list[list[tuple[str, str]]]:
    """Each group of (split, path) divided by `key` of the path; kept where two splits meet."""
    kept = []
    for group in groups:
        parts: dict[Hashable, list[tuple[str, str]]] = defaultdict(list)
        for split, path in group:
            parts[key(path)].append((split, path))
        kept += [part for part in parts.values() if len({split for split, _ in part}) > 1]
    return kept


def _tail(path: str) -> bytes:
    """The last bytes of a file; the first hold headers, which are alike."""
    with open(path, "rb") as file:
        file.seek(max(0, os.path.getsize(path) - _TAIL_BYTES))
        return file.read()


def _digest(path: str) -> bytes:
    """sha256 of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").digest()
