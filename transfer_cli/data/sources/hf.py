"""Hugging Face data sets: saved folders, Parquet and Arrow files, names on the hub. Images stay encoded until read."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from transfer_cli.config.schema import Dataset
from transfer_cli.data.reading.hf_images import HfImages
from transfer_cli.data.reading.labelling import check_several, index_labels, split_indices, split_notes
from transfer_cli.data.reading.listing import Indices, Listing, few, split_of
from transfer_cli.data.reading.paths import ExpectedPath, path_problem
from transfer_cli.data.reading.spelling import one_spelling
from transfer_cli.errors import UserError, did_you_mean, first_line
from transfer_cli.extras import need
from transfer_cli.models.fetching import Remote, unreachable

_FORMATS = {".parquet": "parquet", ".pq": "parquet", ".arrow": "arrow"}
_SAVED = ("dataset_dict.json", "state.json")
_USUAL_IMAGES = ("image", "img")
_USUAL_LABELS = ("label", "labels")

PATH = ExpectedPath("folder or files", kind="any", pattern=True, hub=True)


def load(dataset: Dataset) -> Listing:
    """The data set in the folder or files of `dataset.path`, or `dataset.hub` by name (and `dataset.subset`).

    Raises UserError for a missing package, what cannot be loaded, columns that are not there, rows without a label, a
    single class.
    """
    problem = path_problem(dataset, PATH)
    if problem is not None:
        raise UserError(problem)
    where = str(dataset.path or dataset.hub)
    library = need("datasets", "hf", "dataset=hf")
    datasets, notes = _named_splits(where, _load(library, dataset))
    first = next(iter(datasets.values()))
    image = _image_column(library, where, first, dataset.image_column)
    label = _label_column(library, where, first, dataset.label_column) if dataset.labels == "classes" else None
    if label is not None:
        datasets, more = _with_labels(where, datasets, label)
        notes += more
    splits = split_indices(where, [split for split, data in datasets.items() for _ in range(len(data))], 0)
    classes, labels = _labels(library, where, datasets, label, splits, notes)
    keys = [f"{split}/{row}" for split, data in datasets.items() for row in range(len(data))]
    encoded = [_encoded(library, where, data, image) for data in datasets.values()]
    images = HfImages(encoded, image, [f"{where}/{key}" for key in keys])
    return Listing(
        classes=classes,
        keys=keys,
        labels=labels,
        splits=splits,
        read=images.read,
        prefix=f"{where}/",
        files=True,
        encoded=images,
        notes=(*notes, *split_notes(where, splits, labels, classes)),
    )


def _load(library: Any, dataset: Dataset) -> Any:
    """What `datasets` makes of it."""
    path, hub, subset = dataset.path, dataset.hub, dataset.subset
    library.disable_progress_bars()
    try:
        if hub is not None:
            with _offline_if_unreachable():
                return library.load_dataset(hub, subset)
        root = Path(str(path)).expanduser()
        if root.is_dir():
            saved = any((root / name).is_file() for name in _SAVED)
            return library.load_from_disk(str(root)) if saved else library.load_dataset(str(root), subset)
        files = sorted(glob.glob(str(root), recursive=True))
        kinds = {_FORMATS.get(os.path.splitext(file)[1].lower()) for file in files}
        if len(kinds) != 1 or None in kinds:
            raise UserError(f"dataset.path={path}: a saved folder, or Parquet or Arrow files are expected.")
        return library.load_dataset(kinds.pop(), data_files=files)
    except UserError:
        raise
    except Exception as error:  # the hub's client, Arrow and the builders each raise their own
        key, value = ("path", path) if path else ("hub", hub)
        raise UserError(f"dataset.{key}={value}: cannot be loaded ({first_line(error)}).") from error


@contextmanager
def _offline_if_unreachable() -> Iterator[None]:
    """Where the hub does not answer, look in its cache alone, rather than ask it again for half a minute."""
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = before or unreachable(Remote(None, "", "")) is not None
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


def _named_splits(where: str, loaded: Any) -> tuple[dict[str, Any], list[str]]:
    """The data set of each split by our names, train first, and a note on others."""
    if not isinstance(loaded, dict):
        return {"train": loaded}, []
    named: dict[str, list[str]] = {}
    for name in loaded:
        named.setdefault(split_of(name) or "", []).append(name)
    strangers = named.pop("", [])
    if not named and len(strangers) == 1:
        return {"train": loaded[strangers[0]]}, []
    for split, names in named.items():
        if len(names) > 1:
            raise UserError(f"{where}: has {' and '.join(names)}; one {split} is expected.")
    notes = [f"{where}: parts that are no split are ignored: {few(strangers)}."] if strangers else []
    datasets = {split: loaded[named[split][0]] for split in ("train", "val", "test") if split in named}
    return {split: data for split, data in datasets.items() if len(data)}, notes


def _image_column(library: Any, where: str, data: Any, asked: str | None) -> str:
    """The column of images: the one asked for, the only one of that type, or one of a usual name."""
    images = [name for name, kind in data.features.items() if isinstance(kind, library.Image)]
    return _column(where, data, "image", asked, images, _USUAL_IMAGES)


def _label_column(library: Any, where: str, data: Any, asked: str | None) -> str:
    """The column of labels: the one asked for, one of a usual name, or the only one of classes."""
    labels = [name for name, kind in data.features.items() if isinstance(kind, library.ClassLabel)]
    usual = [name for name in _USUAL_LABELS if name in data.features]
    return _column(where, data, "label", asked, usual if len(usual) == 1 else labels, ())


def _column(where: str, data: Any, role: str, asked: str | None, typed: list[str], usual: tuple[str, ...]) -> str:
    names = list(data.features)
    if asked is not None and asked not in names:
        hint = did_you_mean(asked, names)
        raise UserError(f"dataset.{role}_column={asked}: {where} has no such column.{hint} It has {', '.join(names)}.")
    found = [asked] if asked else typed or [name for name in usual if name in names]
    if len(found) != 1:
        what = f"several {role} columns ({', '.join(found)})" if found else f"no {role} column"
        raise UserError(f"{where}: {what} among {', '.join(names)}; choose with dataset.{role}_column.")
    return found[0]


def _encoded(library: Any, where: str, data: Any, image: str) -> Any:
    """The images of a split as they were encoded, in a data set of one column."""
    try:
        return data.select_columns([image]).cast_column(image, library.Image(decode=False))
    except Exception as error:  # Arrow's errors for columns that hold something else
        raise UserError(
            f"dataset.image_column={image}: {where} has no images there ({data.features[image]})."
        ) from error


def _with_labels(where: str, datasets: dict[str, Any], label: str) -> tuple[dict[str, Any], list[str]]:
    """The splits whose rows have labels: on the hub, those of a competition's test are often kept back (-1)."""
    kept, notes = {}, []
    for split, data in datasets.items():
        values = data[label][:]
        missing = sum(value is None or value == -1 for value in values)
        if missing == len(values) and split != "train":
            notes.append(f"{where}: {split} has no labels and is left out.")
            continue
        if missing:
            raise UserError(f"{where}: {missing:,} of {len(values):,} rows of {split} have no label in {label}.")
        kept[split] = data
    return kept, notes


def _labels(
    library: Any,
    where: str,
    datasets: dict[str, Any],
    label: str | None,
    splits: dict[str, Indices],
    notes: list[str],
) -> tuple[tuple[str, ...], NDArray[np.int64]]:
    """Classes and the class of each row; the classes that the set itself lists keep their order.

    `notes` gets what the user should know of how labels are read.
    """
    count = sum(len(data) for data in datasets.values())
    if label is None:
        return index_labels(where, None, splits, count)
    kinds = [data.features.get(label) for data in datasets.values()]
    values = [value for data in datasets.values() for value in data[label][:]]
    if any(isinstance(value, list | dict | float | bytes) for value in values):
        raise UserError(f"dataset.label_column={label}: {where} has {kinds[0]} there; names or numbers are expected.")
    if not isinstance(kinds[0], library.ClassLabel):
        names, said = one_spelling(where, [str(value).strip() for value in values])
        notes += said
        return index_labels(where, names, splits, count)
    classes = tuple(kinds[0].names)
    if any(getattr(kind, "names", None) != kinds[0].names for kind in kinds):
        raise UserError(f"{where}: train, val and test list different classes in {label}.")
    check_several(where, classes)
    return classes, np.array(values, dtype=np.int64)
