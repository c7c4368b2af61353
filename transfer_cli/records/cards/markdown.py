"""Markdown made of names that may hold anything: they are shown as they are, and never taken for markup."""

from __future__ import annotations

import re
from collections.abc import Sequence

from transfer_cli.errors import one_line
from transfer_cli.records.text import printable

_MOST = 120
"""Characters of a name: a card is to be read."""
_MARKUP = re.compile(r"[\\`*_\[\]<>|~$&#@]")
_ADDRESS = re.compile(r":(?=//)|(?<=www)\.", re.IGNORECASE)
"""What makes a link of text that nobody wrote as one."""


def plain(value: object, most: int = _MOST) -> str:
    """A value as one line of characters that can be seen, cut where it goes on and on; no markup is escaped yet."""
    text = one_line(printable(str(value).replace("\t", " "))).strip()
    return text if len(text) <= most else f"{text[: most - 1]}…"


def text(value: object) -> str:
    """`plain`, to stand in a paragraph or in a cell."""
    return _ADDRESS.sub(r"\\\g<0>", _MARKUP.sub(r"\\\g<0>", plain(value)))


def code(value: object) -> str:
    """`plain` as code in a paragraph or in a cell, where a bar would end the cell even in code."""
    found = plain(value).replace("|", "\\|")
    if not found:
        return ""
    fence = _longer(found, 1)
    padding = " " if found.startswith("`") or found.endswith("`") else ""
    return f"{fence}{padding}{found}{padding}{fence}"


def block(lines: Sequence[str], language: str = "") -> str:
    """Lines of code, each whole, whatever they hold."""
    whole = [plain(line, most=2000) for line in lines]
    fence = _longer("\n".join(whole), 3)
    return "\n".join([f"{fence}{language}", *whole, fence])


def table(columns: Sequence[str], rows: Sequence[Sequence[str]], right: int | None = None) -> str:
    """Cells that are Markdown already; from column number `right` on they are flush right."""
    first = len(columns) if right is None else right
    rule = ["---" if number < first else "---:" for number in range(len(columns))]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [columns, rule, *rows])


def _longer(text: str, least: int) -> str:
    """A fence of more backticks than the text has side by side."""
    return "`" * max(least, 1 + max(map(len, re.findall("`+", text)), default=0))
