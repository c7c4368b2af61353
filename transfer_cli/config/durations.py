"""Lengths of time, and how often something happens, as people write them."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

_UNITS = {"s": 1, "m": 60, "h": 3600}
EXPECTED = "expected a time such as 90s, 20m or 3h50m"
EXPECTED_INTERVAL = 'expected auto, a number of epochs, or a text such as "500 steps" or "10 min"'
_LONGEST_AUTO_SECONDS = 600
_AROUND_MINUTES = 10
_OFTEN = re.compile(r"(\d+(?:\.\d+)?) *(epochs?|steps?|s|sec|seconds?|m|min|minutes?|h|hours?)?")


@dataclass(frozen=True)
class Interval:
    """How often something happens: whenever so many epochs, steps or seconds have gone by; None: not for their sake."""

    epochs: int | None = None
    steps: int | None = None
    seconds: float | None = None


def seconds_of(text: str) -> float | None:
    """`90s`, `20m`, `1.5h`, `3h50m` in seconds; None for anything else, and for nothing at all."""
    amount = r"\d+(?:\.\d+)?"
    found = re.fullmatch(rf"(?:({amount})h)?(?:({amount})m)?(?:({amount})s)?", text.strip().lower())
    if found is None:
        return None
    return sum(float(part or 0) * unit for part, unit in zip(found.groups(), (3600, 60, 1), strict=True)) or None


def wall_minutes(limit: str) -> int:
    """Of a batch job whose program is to save and end after `limit`: ten more, to start and to end in."""
    return math.ceil((seconds_of(limit) or 0.0) / 60) + _AROUND_MINUTES


def interval_of(value: str | int) -> Interval | None:
    """A number of epochs, `500 steps`, `10 min`, or `auto`: each epoch and at least every ten minutes.

    None for anything else, and for nothing at all.
    """
    if isinstance(value, int):
        return Interval(epochs=value)
    if value == "auto":
        return Interval(epochs=1, seconds=_LONGEST_AUTO_SECONDS)
    found = _OFTEN.fullmatch(value.strip().lower())
    if found is None or not float(found[1]):
        return None
    amount, unit = float(found[1]), found[2] or "epochs"
    if unit.startswith(("epoch", "step")):
        count = int(amount) if amount.is_integer() else None
        return None if count is None else Interval(**{"epochs" if unit.startswith("epoch") else "steps": count})
    return Interval(seconds=amount * _UNITS[unit[0]])
