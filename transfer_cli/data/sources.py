"""Where images come from: one `load` for every data set, and the one shape they all take."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from transfer_cli import errors
from transfer_cli.data import folder, packaged, splits, torchvision_sets
from transfer_cli.data.found import Found, Indices


@dataclass(frozen=True)
class ImageSet:
    """Labelled images with three splits, whatever they were read from."""

    name: str
    classes: tuple[str, ...]
    ids: Sequence[str]
    """What to call a sample: its file, or for instance "digits/17"."""
    labels: NDArray[np.int64]
    """Class of each sample, int64 [N]."""
    splits: dict[str, Indices]
    """Ascending sample indices of "train", "val" and "test"."""
    read: Callable[[int], Image.Image]
    """Decodes one sample to RGB; raises DecodeError naming the file."""
    notes: tuple[str, ...]
    """What the user should be warned of."""
    files: bool
    """Whether `read` decodes files (slow, worth worker processes)."""


def load(
    name: str,
    path: str | None,
    *,
    val_fraction: float,
    test_fraction: float,
    train_fraction: float,
    shots: int | None,
    seed: int,
    download: bool = False,
    num_classes: int = 10,
    samples: int = 1000,
) -> ImageSet:
    """The data set `name` with complete splits: those it brings, the others cut from train by fraction.

    `download` matters to torchvision sets alone, `num_classes` and `samples` to fake alone. Raises UserError naming
    the `dataset.` key for unknown names, missing or unusable folders and impossible fractions.
    """
    kinds: dict[str, Callable[[], Found]] = {
        "digits": packaged.digits,
        "fake": lambda: packaged.fake(num_classes, samples),
        "folder": lambda: folder.scan(path),
    }
    for set_name in torchvision_sets.SETS:
        kinds[set_name] = lambda set_name=set_name: torchvision_sets.find(set_name, path, download)  # type: ignore[misc]
    if name not in kinds:
        raise errors.unknown("dataset.name", name, kinds)
    splits.check_fraction("dataset.val_fraction", val_fraction, zero=False)
    splits.check_fraction("dataset.test_fraction", test_fraction, zero=True)
    found = kinds[name]()
    complete, notes = _complete(found, {"val": val_fraction, "test": test_fraction}, train_fraction, shots, seed)
    ids = [found.prefix + key for key in found.keys]
    notes = (*found.notes, *notes)
    return ImageSet(name, found.classes, ids, found.labels, complete, found.read, notes, found.files)


def _complete(
    found: Found, fractions: dict[str, float], train_fraction: float, shots: int | None, seed: int
) -> tuple[dict[str, Indices], tuple[str, ...]]:
    """All three splits: missing ones carved from train, then train reduced as asked."""
    missing = {split: fraction for split, fraction in fractions.items() if split not in found.splits}
    complete = dict(found.splits)
    if missing:
        complete |= splits.carve(found.keys, found.labels, found.classes, found.splits["train"], missing, seed)
    complete["train"], notes = splits.reduce_train(
        found.keys, found.labels, found.classes, complete["train"], train_fraction, shots, seed
    )
    return {split: np.asarray(complete[split], dtype=np.int64) for split in ("train", "val", "test")}, notes
