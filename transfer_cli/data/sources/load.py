"""One `load` for every data set. The source of `dataset.name` is the file of that name in this folder."""

from __future__ import annotations

import importlib
import os
import pkgutil
from collections.abc import Sequence
from typing import Protocol, cast

import numpy as np
from numpy.typing import NDArray

from transfer_cli import errors, plugins
from transfer_cli.config.schema import Dataset
from transfer_cli.data.reading import splits
from transfer_cli.data.reading.grouping import groups_of
from transfer_cli.data.reading.image_set import ImageSet, reader
from transfer_cli.data.reading.listing import Indices, Listing, few
from transfer_cli.data.reading.paths import ExpectedPath
from transfer_cli.data.reading.spelling import look_alike
from transfer_cli.data.sources import torchvision_sets


class Source(Protocol):
    """What a file of this folder holds."""

    PATH: ExpectedPath | None
    """What `dataset.path` must be; None for a source that reads no files."""

    def load(self, dataset: Dataset) -> Listing:
        """All samples, and the splits that the set brings along. Raises UserError naming a `dataset.` key or a file."""
        ...


def names() -> list[str]:
    """What `dataset.name` can be: the other files of this folder, and torchvision's sets, which share one file."""
    package = os.path.dirname(__file__)
    files = {module.name for module in pkgutil.iter_modules([package])} - {"load", "torchvision_sets"}
    return sorted({*files, *torchvision_sets.SETS})


def source_of(name: str) -> Source:
    """The source that a name stands for, imported only now; else one that an installed package adds.

    Raises UserError with the nearest names for others.
    """
    if name not in names():
        added = plugins.find("datasets", name)
        if added is None:
            raise errors.unknown("dataset.name", name, [*names(), *plugins.names("datasets")])
        return cast(Source, added)
    file = "torchvision_sets" if name in torchvision_sets.SETS else name
    return cast(Source, importlib.import_module(f"{__package__}.{file}"))


def load(dataset: Dataset, seed: int) -> ImageSet:
    """The data set with complete splits: those it brings, the others cut from train by fraction.

    What is drawn is drawn by `dataset.split_seed`, or where that is None by `seed`, the run's.
    With `dataset.labels=none` labels are neither needed nor looked at, and no split is cut. Raises UserError naming the
    `dataset.` key for unknown names, missing or unusable files and impossible fractions.
    """
    source = source_of(dataset.name)
    splits.check_fraction("dataset.val_fraction", dataset.val_fraction, zero=False)
    splits.check_fraction("dataset.test_fraction", dataset.test_fraction, zero=True)
    listing = source.load(dataset)
    groups, said = groups_of(listing, dataset.group)
    complete, notes = _complete(listing, groups, dataset, dataset.drawn_by(seed))
    if dataset.max_pixels is not None and not listing.files:
        notes = (*notes, f"dataset.max_pixels={dataset.max_pixels} is ignored: {dataset.name} has no files to decode.")
    weights = None if listing.weights is None else _scaled(dataset.name, listing.weights, complete["train"])
    ids = [os.path.join(listing.prefix, key) for key in listing.keys]
    encoded = listing.encoded if listing.files else None
    return ImageSet(
        name=dataset.name,
        classes=listing.classes,
        ids=ids,
        labels=listing.labels,
        splits=complete,
        read=reader(listing.read, encoded, ids, dataset.max_pixels, dataset.channels),
        notes=(*listing.notes, *_alike_notes(listing.classes), *said, *notes),
        files=listing.files,
        may_change=not listing.published,
        weights=weights,
        groups=None if groups is None else np.unique(groups, return_inverse=True)[1].astype(np.int64),
        max_pixels=dataset.max_pixels,
        folder=listing.prefix,
        channels=dataset.channels,
        encoded=listing.encoded,
    )


def _complete(
    listing: Listing, groups: Sequence[str] | None, dataset: Dataset, seed: int
) -> tuple[dict[str, Indices], tuple[str, ...]]:
    """All three splits, the missing ones carved from train, then train reduced as asked; and notes."""
    none = np.empty(0, np.int64)
    samples = splits.Samples(listing.keys, listing.labels, listing.classes, groups)
    complete: dict[str, Indices] = {"val": none, "test": none, **listing.splits}
    there = {*listing.splits}
    if dataset.folds is not None and dataset.fold is not None:
        complete |= splits.fold(samples, listing.splits, dataset.folds, dataset.fold, seed)
        there |= {"test", *(("val",) if "test" in listing.splits else ())}
    fractions = {"val": dataset.val_fraction, "test": dataset.test_fraction} if listing.classes else {}
    missing = {split: fraction for split, fraction in fractions.items() if split not in there}
    if missing:
        complete |= splits.carve(samples, complete["train"], missing, seed)
    complete["train"], notes = splits.reduce_train(
        samples,
        complete["train"],
        dataset.train_fraction,
        dataset.shots,
        seed,
    )
    return {split: np.asarray(complete[split], dtype=np.int64) for split in ("train", "val", "test")}, notes


def _alike_notes(classes: Sequence[str]) -> list[str]:
    """Notes on classes that differ in case or spelling alone: often one class, twice."""
    groups = look_alike(classes)
    by_case = [" and ".join(names) for names in groups if len({name.casefold() for name in names}) == 1]
    others = [" and ".join(map(repr, names)) for names in groups if len({name.casefold() for name in names}) > 1]
    return [
        f"classes that differ in {what} alone are kept apart: {few(pairs)}."
        for what, pairs in (("case", by_case), ("spelling", others))
        if pairs
    ]


def _scaled(name: str, weights: NDArray[np.float32], train: Indices) -> NDArray[np.float32]:
    """Weights that average to 1 over the training images, so that the rate means what it does without weights."""
    mean = float(weights[train].mean(dtype=np.float64))
    if mean == 0:
        raise errors.UserError(f"dataset={name}: the weights of all training images are 0.")
    scaled: NDArray[np.float32] = (weights / mean).astype(np.float32)
    return scaled
