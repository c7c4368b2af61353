"""From label and split names, one a sample, to classes, label indices and splits: shared by all tables and records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from transfer_cli.data.reading.listing import Indices, few
from transfer_cli.errors import UserError, did_you_mean


def split_indices(where: str, names: Sequence[str] | None, count: int) -> dict[str, Indices]:
    """The samples of each split that occurs, by our split name of each; all are "train" where nothing is said.

    Raises UserError where there is a split but no training images.
    """
    if names is None:
        return {"train": np.arange(count)}
    table = np.array(names, dtype=object)
    splits = {split: np.flatnonzero(table == split) for split in ("train", "val", "test")}
    if len(splits["train"]) == 0:
        raise UserError(f"{where}: has {few([*dict.fromkeys(names)])} but no images in train.")
    return {split: members for split, members in splits.items() if len(members)}


def index_labels(
    where: str, names: Sequence[str] | None, splits: Mapping[str, Indices], count: int
) -> tuple[tuple[str, ...], NDArray[np.int64]]:
    """Classes (the names in train; numbers in their own order) and the class of each of `count` samples, int64 [N].

    Without names there are no classes, and labels are -1. Raises UserError for a single class, and for a name in val
    or test that train does not have.
    """
    if names is None:
        return (), np.full(count, -1, dtype=np.int64)
    present = {names[index] for index in splits["train"]}
    classes = tuple(sorted(present, key=int if all(map(_is_number, present)) else None))
    check_several(where, classes)
    position = {name: label for label, name in enumerate(classes)}
    for split, members in splits.items():
        strangers = sorted({names[index] for index in members} - present)
        if strangers:
            hint = did_you_mean(strangers[0], classes)
            raise UserError(f"{where}: class {strangers[0]!r} is in {split} but not in train.{hint}")
    return classes, np.array([position[name] for name in names], dtype=np.int64)


def check_several(where: str, classes: Sequence[str]) -> None:
    """UserError unless there are at least two classes."""
    if len(classes) < 2:
        raise UserError(f"{where}: only one class ({few(classes)}); at least two are needed.")


def split_notes(
    where: str, splits: Mapping[str, Indices], labels: NDArray[np.int64], classes: Sequence[str]
) -> list[str]:
    """What a user may not expect of splits that a set brings along: a missing one, classes missing in one."""
    if len(splits) == 1 or not classes:
        return []
    notes = [
        f"{where}: no {split} images; they are cut from train by dataset.{split}_fraction."
        for split in ("val", "test")
        if split not in splits
    ]
    for split, members in splits.items():
        counts = np.bincount(labels[members], minlength=len(classes))
        absent = [name for name, number in zip(classes, counts, strict=True) if number == 0]
        if absent:
            notes.append(f"{where}: no {split} images of {len(absent)} of the classes ({few(absent)}).")
    return notes


def _is_number(name: str) -> bool:
    """Whether a name is a whole number as one writes it, such as 7 (and not 07, which is a name)."""
    return name.isascii() and name.isdigit() and (name == "0" or name[0] != "0")
