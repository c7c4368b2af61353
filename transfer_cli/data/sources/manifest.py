"""A table that lists images, CSV, TSV or Parquet: path (in Parquet also the bytes), label, split, weight, group."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

import numpy as np
from PIL import Image

from transfer_cli.config.schema import Dataset
from transfer_cli.data.reading.delimited import DelimitedTable
from transfer_cli.data.reading.labelling import index_labels, split_indices, split_notes
from transfer_cli.data.reading.listing import SPLIT_NAMES, ImageFiles, Listing, few, split_of
from transfer_cli.data.reading.near_paths import PathFinder
from transfer_cli.data.reading.parquet import ParquetImages, ParquetTable
from transfer_cli.data.reading.paths import ExpectedPath, check_path
from transfer_cli.data.reading.spelling import missing_numbers, one_spelling, tidy
from transfer_cli.errors import UserError, did_you_mean

_PARQUET_ENDINGS = (".parquet", ".pq")
_LISTED = 5
_USUAL_COLUMNS = {"image": "path", "label": "label", "split": "split", "weight": "weight"}
_PATH_COLUMNS = ("path", "image", "file", "filename", "filepath")

PATH = ExpectedPath("CSV, TSV or Parquet file", kind="file")


class Table(Protocol):
    """A manifest as it lies in its file: cells are text, "" where there is nothing."""

    file: Path
    names: list[str]
    notes: list[str]
    """What the user should be warned of."""

    def cells(self, name: str) -> list[str]: ...

    def row_name(self, index: int) -> str: ...

    def images(self, name: str) -> ParquetImages | None: ...


@dataclass(frozen=True)
class _Rows:
    """What the rows say, checked; None for what the table does not have."""

    keys: list[str]
    labels: list[str] | None
    splits: list[str] | None
    weights: list[float] | None
    groups: list[str] | None = None

    def take(self, kept: list[int]) -> _Rows:
        """Some of the rows."""
        labels, splits, weights, groups = self.labels, self.splits, self.weights, self.groups
        return _Rows(
            [self.keys[index] for index in kept],
            None if labels is None else [labels[index] for index in kept],
            None if splits is None else [splits[index] for index in kept],
            None if weights is None else [weights[index] for index in kept],
            None if groups is None else [groups[index] for index in kept],
        )

    def agree(self, index: int, other: int) -> bool:
        """Whether two rows say the same."""
        columns: tuple[Sequence[object] | None, ...] = (self.labels, self.splits, self.weights, self.groups)
        return all(column is None or column[index] == column[other] for column in columns)


@dataclass
class _Problems:
    """What is wrong with rows: of each kind how often, and where first."""

    table: Table
    found: dict[str, list[str]] = field(default_factory=dict)

    def add(self, kind: str, index: int, what: str = "") -> None:
        """One more of a kind; `what` says what was found there."""
        self.found.setdefault(kind, []).append(f"  {self.table.row_name(index)}" + (f": {what}" if what else ""))

    def raise_any(self) -> None:
        """UserError with up to five of each kind."""
        lines = []
        for kind, rows in self.found.items():
            lines += [f"{self.table.file}: {kind}:", *rows[:_LISTED]]
            lines += [f"  ... and {len(rows) - _LISTED:,} more"] if len(rows) > _LISTED else []
        if lines:
            raise UserError("\n".join(lines))


def load(dataset: Dataset) -> Listing:
    """The images that the table at `dataset.path` lists, paths relative to it.

    Raises UserError naming file and line: a column that is not there, empty cells, unknown splits, bad weights,
    missing images, contradictory rows, a single class.
    """
    file = check_path(dataset, PATH)
    table = _open(file)
    image, split, weight = (_column(table, role, dataset) for role in ("image", "split", "weight"))
    label = _column(table, "label", dataset) if dataset.labels == "classes" else None
    assert image is not None
    group = dataset.group if dataset.group in table.names else None
    inside, problems = table.images(image), _Problems(table)
    notes = [*table.notes, *_column_notes(table, [image, label, split, weight, group], split)]
    rows = _Rows(
        keys=_paths(table, image, problems, notes) if inside is None else [str(row) for row in range(len(inside))],
        labels=_labels(table, label, problems),
        splits=_splits(table, split, problems),
        weights=_weights(table, weight, problems),
        groups=[cell.strip() for cell in table.cells(group)] if group is not None else None,
    )
    problems.raise_any()
    if rows.labels is not None:
        names, said = one_spelling(str(file), rows.labels)
        rows, notes = replace(rows, labels=names), [*notes, *said]
    listing = _beside(table, rows) if inside is None else _inside(table, rows, inside)
    return replace(listing, notes=(*notes, *listing.notes))


def paths_in(file: Path) -> tuple[list[str], tuple[str, ...]]:
    """The cells of the column of paths in a table of images, as they are, and what the user should be warned of.

    Raises UserError for a table without such a column, or one that holds the images themselves.
    """
    table = _open(file)
    alike = [name for wanted in _PATH_COLUMNS for name in table.names if tidy(name).casefold() == wanted]
    if not alike:
        raise UserError(
            f"{file}: no column of paths; one called {', '.join(_PATH_COLUMNS)} is read. It has "
            f"{', '.join(table.names)}."
        )
    if table.images(alike[0]) is not None:
        raise UserError(f"{file}: column {alike[0]} holds images and not their paths; save them as files.")
    return table.cells(alike[0]), tuple(table.notes)


def is_table(file: Path) -> bool:
    """Whether a file's name ends as that of a table."""
    return file.suffix.lower() in (*_PARQUET_ENDINGS, ".csv", ".tsv", ".tab")


def _open(file: Path) -> Table:
    return ParquetTable(file) if file.suffix.lower() in _PARQUET_ENDINGS else DelimitedTable(file)


def _column(table: Table, role: str, dataset: Dataset) -> str | None:
    """The column for a role; None where a split or weight is not asked for and not there."""
    asked: str | None = getattr(dataset, f"{role}_column")
    wanted = asked or _USUAL_COLUMNS[role]
    if wanted in table.names:
        return wanted
    alike = [name for name in table.names if tidy(name) == tidy(wanted)]
    if asked is None and not alike:  # Split, LABEL: not in the names that the user gives, which may differ in case
        alike = [name for name in table.names if tidy(name).casefold() == wanted]
    if len(alike) == 1:
        return alike[0]
    if asked is None and role in ("split", "weight"):
        return None
    hint = did_you_mean(wanted, table.names)
    raise UserError(
        f"dataset.{role}_column={wanted}: {table.file} has no such column.{hint} It has {', '.join(table.names)}."
    )


def _column_notes(table: Table, read: list[str | None], split: str | None) -> list[str]:
    """What to say of columns: those found under another spelling, and one of splits that is not read."""
    usual = {name.casefold(): name for name in _USUAL_COLUMNS.values()}
    respelt = [name for name in read if name is not None and usual.get(name.casefold(), name) != name]
    notes = [f"{table.file}: column {name} is read as {usual[name.casefold()]}." for name in respelt]
    if split is None:
        others = [name for name in table.names if name not in read and _holds_splits(table, name)]
        notes += [
            f"{table.file}: column {name} names splits and is not read; dataset.split_column={name} would."
            for name in others
        ]
    return notes


def _holds_splits(table: Table, name: str) -> bool:
    """Whether every cell of a column is the name of a split, and not always the same."""
    if table.images(name) is not None:
        return False
    found: set[str | None] = set()
    for cell in table.cells(name):
        found.add(split_of(cell))
        if None in found:
            return False
    return len(found) > 1


def _paths(table: Table, name: str, problems: _Problems, notes: list[str]) -> list[str]:
    """Normalised paths, all of which exist; `notes` gets one on those that are spelt otherwise than their files."""
    finder, paths, respelt = PathFinder(str(table.file.parent)), [], []
    for index, cell in enumerate(table.cells(name)):
        found = finder.find(cell) if cell.strip() else None
        paths.append(os.path.normpath(found or cell))
        if not cell.strip():
            problems.add("no path", index)
        elif found is None:
            problems.add("no such image file", index, cell + finder.hint(cell))
        elif found != cell:
            respelt.append(f"{table.row_name(index)}: {cell!r} is {found!r}")
    if respelt:
        notes.append(f"{table.file}: {len(respelt):,} path(s) are spelt otherwise than their files ({few(respelt)}).")
    return paths


def _labels(table: Table, name: str | None, problems: _Problems) -> list[str] | None:
    """Class names without the blanks around them."""
    if name is None:
        return None
    labels = [cell.strip() for cell in table.cells(name)]
    missing = set(missing_numbers(labels))
    for index, label in enumerate(labels):
        if not label or index in missing:
            problems.add("no label", index, label)
        elif "\0" in label:
            problems.add("a label with a zero byte", index)
    return labels


def _splits(table: Table, name: str | None, problems: _Problems) -> list[str] | None:
    """Our own name of each row's split."""
    if name is None:
        return None
    splits = []
    for index, cell in enumerate(table.cells(name)):
        split = split_of(cell)
        if split is None:
            problems.add(f"unknown split ({', '.join(SPLIT_NAMES)} are known)", index, cell.strip() or "nothing")
        splits.append(split or "")
    return splits


def _weights(table: Table, name: str | None, problems: _Problems) -> list[float] | None:
    """Numbers from 0 on."""
    if name is None:
        return None
    weights = []
    for index, cell in enumerate(table.cells(name)):
        try:
            weight = float(cell)
        except ValueError:
            weight = math.nan
        if not 0 <= weight < math.inf:
            problems.add("a weight that is no number from 0 on", index, cell.strip() or "nothing")
        weights.append(weight)
    return weights


def _once(table: Table, rows: _Rows) -> tuple[_Rows, list[str]]:
    """Each image once, and a note on repeats. Raises UserError where a later row contradicts the first."""
    first: dict[str, int] = {}
    kept: list[int] = []
    repeats: list[int] = []
    problems = _Problems(table)
    for index, path in enumerate(rows.keys):
        before = first.setdefault(path, index)
        if before != index and not rows.agree(index, before):
            problems.add("an image that is listed differently before", index, f"{path}, as in {table.row_name(before)}")
        (kept if before == index else repeats).append(index)
    problems.raise_any()
    if not repeats:
        return rows, []
    example = table.row_name(repeats[0])
    return rows.take(kept), [f"{table.file}: {len(repeats):,} row(s) repeat an earlier one ({example}); counted once."]


def _beside(table: Table, rows: _Rows) -> Listing:
    """Images in files of their own."""
    rows, notes = _once(table, rows)
    files = ImageFiles(str(table.file.parent), rows.keys)
    listing = _listing(table, rows, files.read)
    prefix = os.path.join(table.file.parent, "")
    return replace(listing, prefix=prefix, encoded=files, notes=(*notes, *listing.notes))


def _inside(table: Table, rows: _Rows, images: ParquetImages) -> Listing:
    """Images in the table."""
    return replace(_listing(table, rows, images.read), prefix=f"{table.file}/", encoded=images)


def _listing(table: Table, rows: _Rows, read_image: Callable[[int], Image.Image]) -> Listing:
    where = str(table.file)
    splits = split_indices(where, rows.splits, len(rows.keys))
    classes, labels = index_labels(where, rows.labels, splits, len(rows.keys))
    return Listing(
        classes=classes,
        keys=rows.keys,
        labels=labels,
        splits=splits,
        read=read_image,
        files=True,
        weights=None if rows.weights is None else np.array(rows.weights, dtype=np.float32),
        groups=rows.groups,
        notes=tuple(split_notes(where, splits, labels, classes)),
    )
