"""The part of a sweep's page about several objectives: who is on the front, as a table and by two of them in charts."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from transfer_cli.config.objectives import COSTS
from transfer_cli.records.front_plot import is_logarithmic, label_of, pair
from transfer_cli.records.pages.charts import in_percent, short_number
from transfer_cli.records.pages.frame import Axis, Frame, linear, logarithmic


@dataclass(frozen=True)
class FrontRow:
    """A configuration: its objectives, None where one is not known, and the same for people."""

    name: str
    values: Sequence[float | None]
    cells: Sequence[str]
    on_front: bool
    page: str | None
    """The path of its best run's page from here."""


@dataclass(frozen=True)
class FrontFacts:
    """Configurations, those on the front first, and the headings of their objectives."""

    objectives: Sequence[str]
    headings: Sequence[str]
    rows: Sequence[FrontRow]

    @property
    def charts(self) -> list[tuple[str, Markup]]:
        """One for each pair of objectives, with what it shows; none where nothing has all of them."""
        shown = [(number, row) for number, row in enumerate(self.rows, 1) if None not in row.values]
        pairs = itertools.combinations(range(len(self.objectives)), 2)
        return [self._chart(shown, *pair(self.objectives, *two)) for two in pairs if shown]

    def _chart(self, shown: Sequence[tuple[int, FrontRow]], x: int, y: int) -> tuple[str, Markup]:
        across, up = (_axis(self.objectives[place], [row.values[place] or 0.0 for _, row in shown]) for place in (x, y))
        frame = Frame(across, up)
        # Those on the front are drawn over the others.
        drawn = [mark for number, row in sorted(shown, key=_is_on) for mark in _marks(frame, number, row, x, y)]
        what = " over ".join(self.objectives[place].replace("_", " ") for place in (y, x))
        count = sum(row.on_front for _, row in shown)
        label = f"{what} of {len(shown)} configurations, {count} on the front; the table has the numbers"
        return what[0].upper() + what[1:], frame.svg(label, drawn)


def _is_on(numbered: tuple[int, FrontRow]) -> bool:
    return numbered[1].on_front


def _marks(frame: Frame, number: int, row: FrontRow, x: int, y: int) -> Iterable[Markup]:
    left, top = frame.at(row.values[x] or 0.0, row.values[y] or 0.0)
    yield Markup('<g><title>{}: {}</title><circle class="dot {}" cx="{}" cy="{}" r="4.5"/></g>').format(
        number, row.name, "train" if row.on_front else "behind", left, top
    )
    if row.on_front:
        yield Markup('<text class="tag" x="{}" y="{}">{}</text>').format(left + 7, top - 5, number)


def _axis(name: str, values: Sequence[float]) -> Axis:
    label = label_of(name)
    if is_logarithmic(name, values):
        return logarithmic(values, label, short_number)
    if name in COSTS or name == "loss":
        return linear(values, label, short_number, within=(0.0, math.inf))
    return linear(values, label, in_percent, within=(0.0, 1.0))
