"""Data sets as a configuration describes them, with what a test does not say filled in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transfer_cli.config.schema import Dataset
from transfer_cli.data.reading.image_set import ImageSet
from transfer_cli.data.sources import load as sources


def dataset(name: str, path: str | Path | None = None, **changes: Any) -> Dataset:
    """The group `dataset` of a configuration; of classes and images of `fake` ten and a thousand."""
    values: dict[str, Any] = {
        "val_fraction": 0.2,
        "test_fraction": 0.2,
        "train_fraction": 1.0,
        "shots": None,
        "store": "auto",
        "source_factor": 1.5,
        "on_bad": "error",
        "sampler": "uniform",
        "class_weights": "none",
        "num_classes": 10,
        "samples": 1000,
    }
    return Dataset(name=name, path=None if path is None else str(path), **values | changes)


def load(name: str, path: str | Path | None = None, *, seed: int = 0, **changes: Any) -> ImageSet:
    """The images of such a data set."""
    return sources.load(dataset(name, path, **changes), seed)
