"""Where images come from: one `load` for every data set, and the one shape they all take."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from transfer_cli import errors
from transfer_cli.data.sources import folder, hf, manifest, packaged, splits, torchvision_sets, webdataset
from transfer_cli.data.sources.listing import USUAL_COLUMNS, Columns, Contents, Indices, Listing, few


@dataclass(frozen=True)
class ImageSet:
    """Images with three splits, whatever they were read from."""

    name: str
    classes: tuple[str, ...]
    """Empty where there are no labels."""
    ids: Sequence[str]
    """What to call a sample: its file, or for instance "digits/17"."""
    labels: NDArray[np.int64]
    """Class of each sample, int64 [N]; -1 throughout where there are no labels."""
    splits: dict[str, Indices]
    """Ascending sample indices of "train", "val" and "test"."""
    read: Callable[[int], Image.Image]
    """Decodes one sample to RGB; raises DecodeError naming the file."""
    notes: tuple[str, ...]
    """What the user should be warned of."""
    files: bool
    """Whether `read` decodes files (slow, worth worker processes)."""
    weights: NDArray[np.float32] | None = None
    """Weight of each sample in the loss where the set says so, float32 [N]; 1 on average over "train"."""
    contents: Contents | None = None
    """Where each image lies and its bytes, for a set with `files`; what determines an image that is generated."""


def load(
    name: str,
    path: str | None,
    *,
    val_fraction: float,
    test_fraction: float,
    train_fraction: float,
    shots: int | None,
    seed: int,
    labelled: bool = True,
    columns: Columns = USUAL_COLUMNS,
    hub: str | None = None,
    subset: str | None = None,
    download: bool = False,
    num_classes: int = 10,
    samples: int = 1000,
) -> ImageSet:
    """The data set `name` with complete splits: those it brings, the others cut from train by fraction.

    Not `labelled`: labels are neither needed nor looked at, and no split is cut. `columns` matters to tables and
    records, `hub` and `subset` to hf, `download` to torchvision sets, `num_classes` and `samples` to fake. Raises
    UserError naming the `dataset.` key for unknown names, missing or unusable files and impossible fractions.
    """
    kinds: dict[str, Callable[[], Listing]] = {
        "digits": packaged.digits,
        "fake": lambda: packaged.fake(num_classes, samples),
        "folder": lambda: folder.scan(path, labelled),
        "manifest": lambda: manifest.read(path, columns, labelled),
        "hf": lambda: hf.read(path, hub, subset, columns, labelled),
        "webdataset": lambda: webdataset.read(path, columns, labelled),
    }
    for set_name in torchvision_sets.SETS:
        kinds[set_name] = lambda set_name=set_name: torchvision_sets.find(set_name, path, download)  # type: ignore[misc]
    if name not in kinds:
        raise errors.unknown("dataset.name", name, kinds)
    splits.check_fraction("dataset.val_fraction", val_fraction, zero=False)
    splits.check_fraction("dataset.test_fraction", test_fraction, zero=True)
    found = kinds[name]()
    fractions = {"val": val_fraction, "test": test_fraction} if found.classes else {}
    complete, notes = _complete(found, fractions, train_fraction, shots, seed)
    ids = [os.path.join(found.prefix, key) for key in found.keys]
    notes = (*found.notes, *_case_notes(found.classes), *notes)
    weights = None if found.weights is None else _scaled(name, found.weights, complete["train"])
    return ImageSet(
        name, found.classes, ids, found.labels, complete, found.read, notes, found.files, weights, found.contents
    )


def _complete(
    found: Listing, fractions: dict[str, float], train_fraction: float, shots: int | None, seed: int
) -> tuple[dict[str, Indices], tuple[str, ...]]:
    """All three splits: those of `fractions` that are missing carved from train, then train reduced as asked."""
    missing = {split: fraction for split, fraction in fractions.items() if split not in found.splits}
    none = np.empty(0, np.int64)
    complete: dict[str, Indices] = {"val": none, "test": none, **found.splits}
    if missing:
        complete |= splits.carve(found.keys, found.labels, found.classes, found.splits["train"], missing, seed)
    complete["train"], notes = splits.reduce_train(
        found.keys, found.labels, found.classes, complete["train"], train_fraction, shots, seed
    )
    return {split: np.asarray(complete[split], dtype=np.int64) for split in ("train", "val", "test")}, notes


def _case_notes(classes: Sequence[str]) -> list[str]:
    """A note on classes that differ in case alone: often one class, twice."""
    alike: dict[str, list[str]] = defaultdict(list)
    for name in classes:
        alike[name.casefold()].append(name)
    pairs = [" and ".join(names) for names in alike.values() if len(names) > 1]
    return [f"classes that differ in case alone are kept apart: {few(pairs)}."] if pairs else []


def _scaled(name: str, weights: NDArray[np.float32], train: Indices) -> NDArray[np.float32]:
    """Weights that average to 1 over the training images, so that the rate means what it does without weights."""
    mean = float(weights[train].mean(dtype=np.float64))
    if mean == 0:
        raise errors.UserError(f"dataset={name}: the weights of all training images are 0.")
    scaled: NDArray[np.float32] = (weights / mean).astype(np.float32)
    return scaled
