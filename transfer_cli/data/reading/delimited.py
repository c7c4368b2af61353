"""CSV and TSV as people's tools write them: a BOM, CRLF, quoted commas, semicolons; each oddity has its line number."""

from __future__ import annotations

import codecs
import csv
import io
import re
from pathlib import Path

from transfer_cli.errors import UserError

_TAB_ENDINGS = (".tsv", ".tab")
_BOMS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}


class DelimitedTable:
    """A header and rows of as many cells; blank rows are left out.

    Raises UserError naming file and line: not text, bad quoting, a row of another length, a name twice in the header,
    no rows.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        text = _read_text(file)
        spaced = _has_spaced_quotes(text, _delimiter(file, text))
        self.names, self._rows, self._lines = _parse(file, text, spaced)
        self.notes = [f"{file}: quotes after a blank are taken for quotes around the cell."] if spaced else []

    def cells(self, name: str) -> list[str]:
        """One column."""
        at = self.names.index(name)
        return [row[at] for row in self._rows]

    def row_name(self, index: int) -> str:
        """What to call a row: the line on which it begins."""
        return f"line {self._lines[index]}"

    def images(self, name: str) -> None:
        """Text holds no images."""


def _read_text(file: Path) -> str:
    """The file as text. Raises UserError naming the first line that is not UTF-8."""
    try:
        data = file.read_bytes()
    except OSError as error:
        raise UserError(f"{file}: cannot be read ({error.strerror}).") from None
    encoding = next((name for bom, name in _BOMS.items() if data.startswith(bom)), "utf-8")
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise UserError(f"{file}: line {line}: not {encoding} text; save the file as UTF-8.") from None


def _has_spaced_quotes(text: str, delimiter: str) -> bool:
    """Whether cells begin with a blank and a quote, as in `a.png, "cat, big"`."""
    if not re.search(f'{re.escape(delimiter)} +"', text):
        return False
    try:
        rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
        return any(cell.startswith(" ") and cell.lstrip(" ").startswith('"') for row in rows for cell in row)
    except csv.Error:
        return False  # the line is named where the table is read


def _parse(file: Path, text: str, spaced: bool) -> tuple[list[str], list[list[str]], list[int]]:
    """Header, rows, and the line on which each row begins; `spaced`: blanks before cells are left out."""
    lines_of_text = io.StringIO(text, newline="")
    reader = csv.reader(lines_of_text, delimiter=_delimiter(file, text), skipinitialspace=spaced, strict=True)
    header: list[str] = []
    rows: list[list[str]] = []
    lines: list[int] = []
    line = 1
    try:
        for row in reader:
            begins, line = line, reader.line_num + 1
            if not any(row):
                continue
            if not header:
                header = _header(file, row, begins)
                continue
            if len(row) != len(header):
                raise UserError(
                    f"{file}: line {begins}: {len(row)} cells where the header has {len(header)} "
                    f"({', '.join(header)}). Quote a cell that holds the separator."
                )
            rows.append(row)
            lines.append(begins)
    except csv.Error as error:
        raise UserError(f"{file}: line {line}: {error}; look at the quotes.") from None
    if not rows:
        raise UserError(f"{file}: a header and no rows." if header else f"{file}: the file is empty.")
    return header, rows, lines


def _delimiter(file: Path, text: str) -> str:
    """Tab by the file's name, else comma, or what the header has in its place."""
    if file.suffix.lower() in _TAB_ENDINGS:
        return "\t"
    header = next(iter(text.lstrip("\r\n").splitlines()), "")
    return next((mark for mark in (",", ";", "\t") if mark in header), ",")


def _header(file: Path, row: list[str], line: int) -> list[str]:
    """The names of the columns."""
    names = [name.strip() for name in row]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UserError(f"{file}: line {line}: the header has {', '.join(map(repr, twice))} twice.")
    return names
