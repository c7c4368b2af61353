"""`dataset.json`: which images a run saw, in a form that scripts can read, and what is different now."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from transfer_cli.data.reading.image_set import ImageSet
from transfer_cli.data.reading.listing import Indices, few
from transfer_cli.data.store.open import DecodedSet
from transfer_cli.errors import counted
from transfer_cli.files import parsed_json
from transfer_cli.rundir import DATASET

FILE = DATASET
_MOST_ROWS = 20
_DIGITS = 16
"""Of a digest of the images of one class."""


def describe(decoded: DecodedSet) -> dict[str, Any]:
    """Classes, images of each class in each split, and what was left out and why."""
    images = decoded.images
    return {
        **listed(images),
        "skipped": [{"file": images.ids[index], "reason": reason} for index, reason in decoded.skipped.items()],
        "store": decoded.store.where,
        # What never changes needs none, and reading it all would delay every start.
        "fingerprints": _fingerprints(decoded) if images.may_change else None,
        "contents": contents(decoded) if images.may_change else None,
    }


def listed(images: ImageSet) -> dict[str, Any]:
    """What is known before an image is decoded: classes in their order, and which images each has in each split."""
    counts = class_counts(images)
    return {
        "name": images.name,
        "classes": list(images.classes),
        "images": {split: len(indices) for split, indices in images.splits.items()},
        "images_of_class": {split: dict(zip(images.classes, row, strict=True)) for split, row in counts.items()},
        "names": _names(images) if images.may_change else None,
    }


def contents(decoded: DecodedSet) -> dict[str, str]:
    """A digest of what the images of each class hold, whichever split they are in: it outlives the class's name."""
    everything = np.sort(np.concatenate([*decoded.images.splits.values()]))
    return {
        name: decoded.store.fingerprint(own)[:_DIGITS] for name, own in _by_class(decoded.images, everything) if name
    }


def _names(images: ImageSet) -> dict[str, dict[str, str]]:
    """A digest of the names of the images of each class, by split; wherever their folder lies."""

    def digest(own: Indices) -> str:
        return _digest([images.ids[index].removeprefix(images.folder) for index in own])

    return {
        split: {name: digest(own) for name, own in _by_class(images, indices)}
        for split, indices in images.splits.items()
    }


def _by_class(images: ImageSet, indices: Indices) -> Iterator[tuple[str, Indices]]:
    """Each class that occurs among `indices`, "" for images without a label, and its images in their order."""
    ordered = indices[np.argsort(images.labels[indices], kind="stable")]
    labels = images.labels[ordered]
    for own in np.split(ordered, np.flatnonzero(np.diff(labels)) + 1) if len(ordered) else []:
        label = images.labels[own[0]]
        yield images.classes[label] if label >= 0 else "", own


def _digest(names: Sequence[str]) -> str:
    return hashlib.sha256("\0".join(names).encode(errors="surrogateescape")).hexdigest()[:_DIGITS]


def _fingerprints(decoded: DecodedSet) -> dict[str, str]:
    """A digest of what each split holds, in its order."""
    return {split: decoded.store.fingerprint(indices) for split, indices in decoded.images.splits.items()}


def read_description(directory: Path) -> dict[str, Any] | None:
    """What a run directory says of its images; None where it does not."""
    try:
        found = parsed_json((directory / FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return {key: value for key, value in found.items() if _is_ours(key, value)} if isinstance(found, dict) else None


def _is_ours(key: str, value: Any) -> bool:
    """Whether a value is of the kind that is written there, and not what a disk or an editor made of it."""
    if key == "classes":
        return isinstance(value, list) and all(isinstance(name, str) for name in value)
    if key == "contents":
        return value is None or (isinstance(value, dict) and all(isinstance(one, str) for one in value.values()))
    if key in ("images_of_class", "names"):
        kind = int if key == "images_of_class" else str
        splits = value.values() if isinstance(value, dict) else [None]
        return all(isinstance(own, dict) and all(isinstance(one, kind) for one in own.values()) for own in splits)
    return True


def other_classes(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """How the classes, whose order is what the outputs of a network mean, differ from those of a description."""
    ours, theirs = now.get("classes"), before.get("classes")
    if not isinstance(ours, list) or not isinstance(theirs, list) or ours == theirs:
        return []
    gone, new = [name for name in theirs if name not in ours], [name for name in ours if name not in theirs]
    if not gone and not new:
        return [f"the classes are in another order ({few(theirs)} before, {few(ours)} now)"]
    lists = ((gone, "gone"), (new, "new"))
    return [f"{_classes(names)} {'is' if len(names) == 1 else 'are'} {what}" for names, what in lists if names]


def other_members(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """Which classes have other images in a split than a description says, by their names or their number alone."""
    found = []
    for split in now["images_of_class"]:
        ours, theirs = (_of_split(one, "names", split) for one in (now, before))
        counts = [_of_split(one, "images_of_class", split) for one in (now, before)]
        for name in dict.fromkeys([*counts[1], *counts[0], *theirs, *ours]):
            number, was = (count.get(name, 0) for count in counts)
            if number != was:
                found.append(f"{split}: class {name!r} has {counted(number, 'image')}, {was:,} before")
            elif theirs and ours.get(name) != theirs.get(name):
                what = f"class {name!r} has other images" if name else "the images without a label are others"
                found.append(f"{split}: {what}, or in another order")
    return found


def moved_classes(before: dict[str, Any], now: dict[str, str]) -> list[str]:
    """Which classes hold exactly what another one held: folders that changed their names among each other."""
    theirs = before.get("contents")
    if not isinstance(theirs, dict):
        return []
    was = {content: name for name, content in theirs.items()}
    moved = {name: was[content] for name, content in now.items() if was.get(content, name) != name}
    return [f"class {name!r} has the images that were of class {other!r}" for name, other in moved.items()]


def _of_split(description: dict[str, Any], key: str, split: str) -> dict[str, Any]:
    """A part of a description; empty where another version left it out."""
    value = description.get(key)
    own = value.get(split) if isinstance(value, dict) else None
    return own if isinstance(own, dict) else {}


def _classes(names: Sequence[str]) -> str:
    return f"class{'es' if len(names) > 1 else ''} {few([repr(name) for name in names])}"


def changed_since(directory: Path, description: dict[str, Any]) -> list[str]:
    """The splits that hold other pixels than when a run described its images; none where that cannot be told."""
    try:
        before = (read_description(directory) or {})["fingerprints"]
        now = description["fingerprints"] or {}
        return [split for split in now if before is not None and before[split] != now[split]]
    except (KeyError, TypeError):
        return []


def class_counts(images: ImageSet) -> dict[str, list[int]]:
    """Of each split, how many images each class has, in the order of the classes."""
    return {
        split: np.bincount(labels[labels >= 0], minlength=len(images.classes)).tolist()
        for split, indices in images.splits.items()
        for labels in [images.labels[indices]]
    }


def class_table(images: ImageSet) -> tuple[list[str], list[list[str]]]:
    """Columns and rows: images of each class, the most first; of many classes the ten largest and smallest."""
    counts = class_counts(images)
    order = sorted(range(len(images.classes)), key=lambda label: -counts["train"][label])
    rows = [[images.classes[label], *(f"{counts[split][label]:,}" for split in counts)] for label in order]
    if len(rows) > _MOST_ROWS:
        half, columns = _MOST_ROWS // 2, len(counts)
        rows = [*rows[:half], ["...", *[""] * columns], *rows[-half:]]
    return ["class", *counts], rows
