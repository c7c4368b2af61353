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
from transfer_cli.errors import UserError, did_you_mean
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
    parts, notes = _named_splits(where, _load(library, dataset))
    first = next(iter(parts.values()))
    image = _image_column(library, where, first, dataset.image_column)
    label = _label_column(library, where, first, dataset.label_column) if dataset.labels == "classes" else None
    if label is not None:
        parts, more = _with_labels(where, parts, label)
        notes += more
    splits = split_indices(where, [split for split, part in parts.items() for _ in range(len(part))], 0)
    classes, labels = _labels(library, where, parts, label, splits)
    keys = [f"{split}/{row}" for split, part in parts.items() for row in range(len(part))]
    encoded = [_encoded(library, where, part, image) for part in parts.values()]
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
        place = Path(str(path)).expanduser()
        if place.is_dir():
            saved = any((place / name).is_file() for name in _SAVED)
            return library.load_from_disk(str(place)) if saved else library.load_dataset(str(place), subset)
        files = sorted(glob.glob(str(place), recursive=True))
        kinds = {_FORMATS.get(os.path.splitext(file)[1].lower()) for file in files}
        if len(kinds) != 1 or None in kinds:
            raise UserError(f"dataset.path={path}: a saved folder, or Parquet or Arrow files are expected.")
        return library.load_dataset(kinds.pop(), data_files=files)
    except UserError:
        raise
    except Exception as error:  # the hub's client, Arrow and the builders each raise their own
        key, value = ("path", path) if path else ("hub", hub)
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UserError(f"dataset.{key}={value}: cannot be loaded ({reason}).") from error


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
    """The parts under our split names, train first, and a note on others."""
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
    parts = {split: loaded[named[split][0]] for split in ("train", "val", "test") if split in named}
    return {split: part for split, part in parts.items() if len(part)}, notes


def _image_column(library: Any, where: str, part: Any, asked: str | None) -> str:
    """The column of images: the one asked for, the only one of that type, or one of a usual name."""
    images = [name for name, kind in part.features.items() if isinstance(kind, library.Image)]
    return _column(where, part, "image", asked, images, _USUAL_IMAGES)


def _label_column(library: Any, where: str, part: Any, asked: str | None) -> str:
    """The column of labels: the one asked for, one of a usual name, or the only one of classes."""
    labels = [name for name, kind in part.features.items() if isinstance(kind, library.ClassLabel)]
    usual = [name for name in _USUAL_LABELS if name in part.features]
    return _column(where, part, "label", asked, usual if len(usual) == 1 else labels, ())


def _column(where: str, part: Any, role: str, asked: str | None, typed: list[str], usual: tuple[str, ...]) -> str:
    names = list(part.features)
    if asked is not None and asked not in names:
        hint = did_you_mean(asked, names)
        raise UserError(f"dataset.{role}_column={asked}: {where} has no such column.{hint} It has {', '.join(names)}.")
    found = [asked] if asked else typed or [name for name in usual if name in names]
    if len(found) != 1:
        what = f"several {role} columns ({', '.join(found)})" if found else f"no {role} column"
        raise UserError(f"{where}: {what} among {', '.join(names)}; choose with dataset.{role}_column.")
    return found[0]


def _encoded(library: Any, where: str, part: Any, image: str) -> Any:
    """The images of a part as they were encoded, in a data set of one column."""
    try:
        return part.select_columns([image]).cast_column(image, library.Image(decode=False))
    except Exception as error:  # Arrow's errors for columns that hold something else
        raise UserError(
            f"dataset.image_column={image}: {where} has no images there ({part.features[image]})."
        ) from error


def _with_labels(where: str, parts: dict[str, Any], label: str) -> tuple[dict[str, Any], list[str]]:
    """The parts whose rows have labels: on the hub, those of a competition's test are often kept back (-1)."""
    kept, notes = {}, []
    for split, part in parts.items():
        values = part[label][:]
        missing = sum(value is None or value == -1 for value in values)
        if missing == len(values) and split != "train":
            notes.append(f"{where}: {split} has no labels and is left out.")
            continue
        if missing:
            raise UserError(f"{where}: {missing:,} of {len(values):,} rows of {split} have no label in {label}.")
        kept[split] = part
    return kept, notes


def _labels(
    library: Any, where: str, parts: dict[str, Any], label: str | None, splits: dict[str, Indices]
) -> tuple[tuple[str, ...], NDArray[np.int64]]:
    """Classes and the class of each row; the classes that the set itself lists keep their order."""
    count = sum(len(part) for part in parts.values())
    if label is None:
        return index_labels(where, None, splits, count)
    kinds = [part.features.get(label) for part in parts.values()]
    values = [value for part in parts.values() for value in part[label][:]]
    if any(isinstance(value, list | dict | float | bytes) for value in values):
        raise UserError(f"dataset.label_column={label}: {where} has {kinds[0]} there; names or numbers are expected.")
    if not isinstance(kinds[0], library.ClassLabel):
        return index_labels(where, [str(value).strip() for value in values], splits, count)
    classes = tuple(kinds[0].names)
    if any(getattr(kind, "names", None) != kinds[0].names for kind in kinds):
        raise UserError(f"{where}: train, val and test list different classes in {label}.")
    check_several(where, classes)
    return classes, np.array(values, dtype=np.int64)
