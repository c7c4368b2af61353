"""A table that lists images, CSV, TSV or Parquet: path (in Parquet also the bytes), label, split, weight, group."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from transfer_cli.config.schema import Dataset
from transfer_cli.data.reading.delimited import DelimitedTable
from transfer_cli.data.reading.labelling import index_labels, split_indices, split_notes
from transfer_cli.data.reading.listing import ImageFiles, Listing, split_of
from transfer_cli.data.reading.parquet import ParquetImages, ParquetTable
from transfer_cli.data.reading.paths import ExpectedPath, check_path
from transfer_cli.data.reading.rows import Columns, Rows, Table, once, read_rows
from transfer_cli.data.reading.spelling import tidy
from transfer_cli.errors import UserError, did_you_mean

_PARQUET_ENDINGS = (".parquet", ".pq")
_USUAL_COLUMNS = {"image": "path", "label": "label", "split": "split", "weight": "weight"}
_PATH_COLUMNS = ("path", "image", "file", "filename", "filepath")

PATH = ExpectedPath("CSV, TSV or Parquet file", kind="file")


def load(dataset: Dataset) -> Listing:
    """The images that the table at `dataset.path` lists, paths relative to it.

    Raises UserError naming file and line: a column that is not there, empty cells, unknown splits, bad weights,
    missing images, contradictory rows, a single class.
    """
    file = check_path(dataset, PATH)
    table = _open(file)
    columns = _columns(table, dataset)
    inside = table.images(columns.image)
    rows, said = read_rows(table, columns, inside)
    listing = _beside(table, rows) if inside is None else _inside(table, rows, inside)
    return replace(listing, notes=(*table.notes, *_column_notes(table, columns), *said, *listing.notes))


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


def _columns(table: Table, dataset: Dataset) -> Columns:
    """Which column says what. Raises UserError for one that is not there."""
    image, split, weight = (_column(table, role, dataset) for role in ("image", "split", "weight"))
    label = _column(table, "label", dataset) if dataset.labels == "classes" else None
    assert image is not None
    return Columns(image, label, split, weight, group=dataset.group if dataset.group in table.names else None)


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


def _column_notes(table: Table, columns: Columns) -> list[str]:
    """What to say of columns: those found under another spelling, and one of splits that is not read."""
    named = [*vars(columns).values()]
    usual = {name.casefold(): name for name in _USUAL_COLUMNS.values()}
    respelt = [name for name in named if name is not None and usual.get(name.casefold(), name) != name]
    notes = [f"{table.file}: column {name} is read as {usual[name.casefold()]}." for name in respelt]
    if columns.split is None:
        others = [name for name in table.names if name not in named and _holds_splits(table, name)]
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


def _beside(table: Table, rows: Rows) -> Listing:
    """Images in files of their own."""
    rows, notes = once(table, rows)
    files = ImageFiles(str(table.file.parent), rows.keys)
    listing = _listing(table, rows, files.read)
    prefix = os.path.join(table.file.parent, "")
    return replace(listing, prefix=prefix, encoded=files, notes=(*notes, *listing.notes))


def _inside(table: Table, rows: Rows, images: ParquetImages) -> Listing:
    """Images in the table."""
    return replace(_listing(table, rows, images.read), prefix=f"{table.file}/", encoded=images)


def _listing(table: Table, rows: Rows, read_image: Callable[[int], Image.Image]) -> Listing:
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
