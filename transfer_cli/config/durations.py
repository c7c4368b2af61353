"""Lengths of time as people write them."""

from __future__ import annotations

import re

_UNITS = {"s": 1, "m": 60, "h": 3600}
EXPECTED = "expected a time such as 90s, 20m or 2h"


def seconds_of(text: str) -> float | None:
    """`90s`, `20m`, `1.5h` in seconds; None for anything else, and for nothing at all."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smh])", text.strip())
    seconds = float(found[1]) * _UNITS[found[2]] if found else 0.0
    return seconds or None
