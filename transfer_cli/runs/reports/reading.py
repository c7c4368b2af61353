"""Files of a run directory, read by someone who can do without any of them."""

from __future__ import annotations

import csv
import math
import os
from pathlib import Path
from typing import Any

import yaml

Values = dict[str, Any]
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""The quick one where PyYAML was built with it: a list may read a thousand files."""
PAGE = "report.html"
OTHER_CONTENT = (ValueError, KeyError, TypeError, AttributeError, IndexError, ArithmeticError, RecursionError)
"""What comes of files that hold something else than a run leaves: text for numbers, infinities, lists for objects."""


def read_yaml(path: Path) -> tuple[str, Values]:
    """A YAML mapping, as text and as values; empty where there is none."""
    try:
        text = path.read_text(encoding="utf-8")
        values = yaml.load(text, Loader=_LOADER)
    except (OSError, ValueError, RecursionError, yaml.YAMLError):  # ValueError: a date of a 13th month, no UTF-8
        return "", {}
    return (text, values) if isinstance(values, dict) else ("", {})


def read_rows(path: Path) -> list[list[str]]:
    """The lines of a CSV, its header first; none where there is none."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return [row for row in csv.reader(file) if row]
    except (OSError, UnicodeDecodeError, csv.Error):
        return []


def number_in(values: Any, name: str) -> float | None:
    """A finite number of a mapping; None where it is no mapping, or holds something else by that name."""
    value = values.get(name) if isinstance(values, dict) else None
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < math.inf
    return value if is_number else None


def place(directory: Path, environment: Values) -> str:
    """A directory as its own command would have named it: from the folder of the command, where it is in there."""
    absolute, folder = Path(os.path.abspath(directory)), environment.get("folder")
    if isinstance(folder, str) and absolute.is_relative_to(folder):
        return str(absolute.relative_to(folder))
    return str(absolute)
