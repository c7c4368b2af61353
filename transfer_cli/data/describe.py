"""`dataset.json`: which images a run saw, in a form that scripts can read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from transfer_cli.data.reading.image_set import ImageSet
from transfer_cli.data.store.open import DecodedSet

_MOST_ROWS = 20


def describe(decoded: DecodedSet) -> dict[str, Any]:
    """Classes, images of each class in each split, and what was left out and why."""
    images = decoded.images
    counts = class_counts(images)
    return {
        "name": images.name,
        "classes": list(images.classes),
        "images": {split: len(indices) for split, indices in images.splits.items()},
        "images_of_class": {split: dict(zip(images.classes, row, strict=True)) for split, row in counts.items()},
        "skipped": [{"file": images.ids[index], "reason": reason} for index, reason in decoded.skipped.items()],
        "store": decoded.store.where,
        # What never changes needs none, and reading it all would delay every start.
        "fingerprints": _fingerprints(decoded) if images.may_change else None,
    }


def _fingerprints(decoded: DecodedSet) -> dict[str, str]:
    """A digest of what each split holds, in its order."""
    return {split: decoded.store.fingerprint(indices) for split, indices in decoded.images.splits.items()}


def changed_since(file: Path, description: dict[str, Any]) -> list[str]:
    """The splits that hold other images than when `file` was written; none where that cannot be told."""
    try:
        before = json.loads(file.read_text(encoding="utf-8"))["fingerprints"]
        now = description["fingerprints"] or {}
        return [split for split in now if before is not None and before[split] != now[split]]
    except (OSError, ValueError, KeyError, TypeError):
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
