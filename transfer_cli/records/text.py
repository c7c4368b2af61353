"""Words for screens and logs: no control characters, no more columns than there are, tables without Rich.

Rich takes 0.1 s to import, which a run that writes to a file does not need, and folds tables to 80 columns there.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

_DIRECTIONS = "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"
# Pages hold pictures of a hundred thousand characters: one search of them all, not a look at each.
_DECEIVES = re.compile(f"[\x00-\x09\x0b-\x1f\x7f-\x9f{_DIRECTIONS}]")
_MOST_LINES = 100
# Linux knows no path of more.
_ENDLESS = re.compile(r"\S{4097,}")
_NUMBER = re.compile(r"-?[\d,]+(\.\d+)?(e[+-]\d+)?( \S+)?")


def printable(text: str, encoding: str = "utf-8") -> str:
    """`text` with what a file name may hold to deceive, and what `encoding` lacks, as backslash escapes.

    That is control characters, and marks that turn the direction of writing.
    """
    cleaned = _DECEIVES.sub(lambda found: repr(found.group())[1:-1], text)
    return cleaned.encode(encoding, "backslashreplace").decode(encoding)


def shortened(text: str) -> str:
    """`text` with whatever is longer than any path cut in its middle, and of very many lines the first."""
    lines = text.split("\n")
    if len(lines) > _MOST_LINES:
        text = "\n".join([*lines[:_MOST_LINES], f"... and {len(lines) - _MOST_LINES:,} more lines"])
    return _ENDLESS.sub(lambda found: f"{found.group()[:100]}...({len(found.group()):,} characters)", text)


def fit(parts: Sequence[tuple[int, str]], width: int) -> str:
    """Join the texts of (rank, text) parts that fit into `width` columns; the highest ranks go first."""
    kept = sorted(range(len(parts)), key=lambda index: parts[index][0])
    while len(kept) > 1 and sum(len(parts[index][1]) + 2 for index in kept) - 2 > width:
        kept.pop()
    return "  ".join(parts[index][1] for index in sorted(kept))


def plain_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A title and aligned columns as lines; columns of numbers are flush right."""
    cells = [[*map(_one_line, row)] for row in [columns, *rows]]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    right = [is_numeric(column[1:]) for column in zip(*cells, strict=True)]
    lines = [
        "  ".join(
            cell.rjust(width) if flush else cell.ljust(width)
            for cell, width, flush in zip(row, widths, right, strict=True)
        )
        for row in [*cells[:1], ["-" * width for width in widths], *cells[1:]]
    ]
    return "\n".join([title, *(line.rstrip() for line in lines)])


def stacked_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """The same for narrow screens: a line a cell, behind its column's name, and an empty line between rows."""
    width = max(map(len, columns), default=0)
    blocks = [
        "\n".join(
            f"{column.ljust(width)}  {_one_line(cell)}".rstrip() for column, cell in zip(columns, row, strict=True)
        )
        for row in rows
    ]
    return "\n\n".join([title, *blocks])


def table_width(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> int:
    """The columns that a table takes at least: numbers whole, words folded to 12 characters."""
    cells = zip(columns, *rows, strict=True)
    widths = [(max(map(len, column)), 99 if is_numeric(column[1:]) else 12) for column in cells]
    return sum(min(needed, limit) + 3 for needed, limit in widths)


def is_numeric(cells: Sequence[str]) -> bool:
    """Whether a column holds numbers, with or without units."""
    return any(cells) and all(cell == "" or _NUMBER.fullmatch(cell) for cell in cells)


def _one_line(cell: str) -> str:
    return printable(cell.replace("\n", " "))


def duration(seconds: float) -> str:
    """`41 s`, `3:05` (minutes), `2:03:05` (hours)."""
    whole = round(seconds)
    minutes, hours = whole // 60, whole // 3600
    if hours:
        return f"{hours}:{minutes % 60:02d}:{whole % 60:02d}"
    return f"{minutes}:{whole % 60:02d}" if minutes else f"{whole} s"


def percent(fraction: float) -> str:
    """A fraction as a percentage that is always equally wide."""
    return f"{100 * fraction:6.2f} %"


def in_words(size: int) -> str:
    """Bytes in the unit that suits them."""
    value = float(size)
    for unit in ("B", "kB", "MB"):
        if value < 999.5:
            return f"{value:.3g} {unit}"
        value /= 1000
    return f"{value:,.1f} GB"
