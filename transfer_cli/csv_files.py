"""Rows in CSV files whose text stays data, whatever opens them: spreadsheets run what begins as a formula."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from transfer_cli.files import atomic_write_text

_FORMULA = ("=", "+", "-", "@", "\t", "\r")
# All but tabs and line breaks, which a cell may hold.
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?|[+-]?(inf|nan)", re.IGNORECASE)


def write_csv(path: Path, columns: Sequence[str], rows: Iterable[Sequence[str | float | None]]) -> None:
    """Write a header and rows atomically, as `csv_line` makes them. Raises OSError."""
    atomic_write_text(path, "".join([_joined(columns), *map(csv_line, rows)]))


def csv_line(row: Sequence[str | float | None]) -> str:
    """A row with its line break; None becomes an empty cell.

    Text is data to whatever opens the file: what a spreadsheet would take for a formula begins with an apostrophe, as
    spreadsheets themselves write it, and control characters are escaped.
    """
    return _joined([csv_cell(cell) for cell in row])


def _joined(cells: Sequence[str | float | None]) -> str:
    text = io.StringIO()
    # Before 3.13 Python leaves a carriage return without quotes, and takes it for the end of a row.
    careful = any(isinstance(cell, str) and "\r" in cell for cell in cells)
    csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_ALL if careful else csv.QUOTE_MINIMAL).writerow(cells)
    return text.getvalue()


def csv_cell(value: str | float | None) -> str | float | None:
    """A cell as `csv_line` writes it, before it is quoted."""
    if not isinstance(value, str):
        return value
    value = _CONTROL.sub(lambda found: repr(found.group())[1:-1], value)
    # One that has such an apostrophe gets another, so that no two texts are the same cell.
    return f"'{value}" if _is_formula(value) and not _NUMBER.fullmatch(value) else value


def csv_text(cell: str) -> str:
    """The text of a cell as it was before `csv_line` kept a spreadsheet from taking it for a formula."""
    return cell[1:] if cell.startswith("'") and _is_formula(cell) else cell


def _is_formula(text: str) -> bool:
    """Whether a spreadsheet takes it for one, but for apostrophes before it."""
    return text.lstrip("'").startswith(_FORMULA)
