"""What the jobs of a sweep tried and scored, and the axes for it: of a key's values, and of scores."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from transfer_cli.records.pages.charts import in_percent
from transfer_cli.records.pages.frame import Axis, linear, logarithmic

_WIDE_RANGE = 8
"""A key whose largest value is so many times the smallest has a logarithmic axis."""
_FEW_VALUES, _APART = 9, 0.07
"""So many values stand at their axis themselves, where they lie so far from each other."""
_LARGEST = 1e300
"""Beyond it, and below its inverse, the ends of an axis and its round numbers leave what a float can be."""


@dataclass(frozen=True)
class Tried:
    """A job with a score: its number in the leaderboard, and its values of the keys that differ, as they were typed."""

    number: int
    name: str
    settings: Mapping[str, str]
    score: float

    def title(self, scale: Scale) -> str:
        """What is said of its mark."""
        return f"{self.number}: {self.name}, {scale.text(self.score)}"


@dataclass(frozen=True)
class Scale:
    """How scores on validation are written: the name of the metric, and whether it is a share, in per cent."""

    metric: str
    in_percent: bool

    def text(self, value: float) -> str:
        """`75.0 %` or `0.75`."""
        return f"{100 * value:.1f} %" if self.in_percent else f"{value:.4g}"

    def axis(self, values: Iterable[float], label: str) -> Axis:
        """With room for all of `values`."""
        text = in_percent if self.in_percent else "{:.3g}".format
        return linear(values, label, text, within=(0.0, 1.0) if self.in_percent else (-math.inf, math.inf))


def numbers(values: Iterable[str]) -> dict[str, float] | None:
    """What each value is as a number; None where one is none, as with names, or has no place on an axis."""
    try:
        found = {value: float(value) for value in values}
    except ValueError:
        return None
    return found if all(one == 0 or 1 / _LARGEST <= abs(one) <= _LARGEST for one in found.values()) else None


def axis_of(values: Sequence[float], label: str) -> Axis:
    """For the numbers of a key, logarithmic where they span much; these stand at it where there is room."""
    low, high = min(values), max(values)
    log = low > 0 and high / low >= _WIDE_RANGE
    found = logarithmic(values, label, "{:g}".format) if log else linear(values, label, "{:g}".format, within=_ANY)
    own = sorted({*values})
    places = [found.place(value) for value in own]
    roomy = all(after - before >= _APART for before, after in itertools.pairwise(places))
    return replace(found, ticks=tuple(own)) if len(own) <= _FEW_VALUES and roomy else found


_ANY = (-math.inf, math.inf)
