"""What the rows of a table of images say, cell by cell checked: all that is wrong with them is told at once."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, TypeVar

from transfer_cli.data.reading.listing import SPLIT_NAMES, few, split_of
from transfer_cli.data.reading.near_paths import PathFinder
from transfer_cli.data.reading.parquet import ParquetImages
from transfer_cli.data.reading.spelling import missing_numbers, one_spelling
from transfer_cli.errors import UserError

T = TypeVar("T")
_LISTED = 5


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
class Columns:
    """The names of the columns that are read; None for what the table does not have."""

    image: str
    label: str | None
    split: str | None
    weight: str | None
    group: str | None


@dataclass(frozen=True)
class Rows:
    """What the rows say, checked; None for what the table does not have."""

    keys: list[str]
    labels: list[str] | None
    splits: list[str] | None
    weights: list[float] | None
    groups: list[str] | None

    def take(self, kept: list[int]) -> Rows:
        """Some of the rows."""
        keys, splits = [self.keys[index] for index in kept], _some(self.splits, kept)
        return Rows(keys, _some(self.labels, kept), splits, _some(self.weights, kept), _some(self.groups, kept))

    def agree(self, index: int, other: int) -> bool:
        """Whether two rows say the same."""
        columns: tuple[Sequence[object] | None, ...] = (self.labels, self.splits, self.weights, self.groups)
        return all(column is None or column[index] == column[other] for column in columns)


def _some(column: list[T] | None, kept: list[int]) -> list[T] | None:
    return None if column is None else [column[index] for index in kept]


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


def read_rows(table: Table, columns: Columns, inside: ParquetImages | None) -> tuple[Rows, list[str]]:
    """The rows, and what the user should be warned of; where images lie `inside` the table their keys are numbers.

    Raises UserError naming file and line: empty cells, missing images, unknown splits, bad weights.
    """
    problems, notes = _Problems(table), list[str]()
    keys = _paths(table, columns.image, problems, notes) if inside is None else [*map(str, range(len(inside)))]
    labels = _labels(table, columns.label, problems)
    splits = _splits(table, columns.split, problems)
    weights = _weights(table, columns.weight, problems)
    groups = None if columns.group is None else [cell.strip() for cell in table.cells(columns.group)]
    problems.raise_any()
    if labels is not None:
        labels, said = one_spelling(str(table.file), labels)
        notes += said
    return Rows(keys, labels, splits, weights, groups), notes


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


def once(table: Table, rows: Rows) -> tuple[Rows, list[str]]:
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
