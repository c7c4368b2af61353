"""`dataset.json`: which images a run saw, in a form that scripts can read."""

from __future__ import annotations

from typing import Any

import numpy as np

from transfer_cli.data.store import Opened


def describe(opened: Opened) -> dict[str, Any]:
    """Classes, images of each class in each split, and what was left out and why."""
    images = opened.images
    counts = {
        split: np.bincount(labels[labels >= 0], minlength=len(images.classes)).tolist()
        for split, indices in images.splits.items()
        for labels in [images.labels[indices]]
    }
    return {
        "name": images.name,
        "classes": list(images.classes),
        "images": {split: len(indices) for split, indices in images.splits.items()},
        "images_of_class": {split: dict(zip(images.classes, row, strict=True)) for split, row in counts.items()},
        "skipped": [{"file": images.ids[index], "reason": reason} for index, reason in opened.skipped.items()],
        "store": opened.store.where,
    }
