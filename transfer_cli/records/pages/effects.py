"""Main effects: what the jobs of a sweep scored with each value of a key, whatever their other keys were."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from transfer_cli.config.commands import REPEATS
from transfer_cli.errors import counted
from transfer_cli.records.pages.frame import Axis, Frame
from transfer_cli.records.pages.tried import Scale, Tried, axis_of, numbers
from transfer_cli.records.plots import short

_ROW, _BELOW_ROWS = 36, 54
_MOST_ROWS = 20
_LETTERS = 60
"""Of a value above its row."""


@dataclass(frozen=True)
class Effect:
    """A key, and the jobs with each of its values."""

    key: str
    groups: Mapping[str, Sequence[Tried]]

    @property
    def means(self) -> dict[str, float]:
        """Of the scores with each value."""
        return {value: statistics.fmean(job.score for job in jobs) for value, jobs in self.groups.items()}

    @property
    def repeats(self) -> bool:
        """Whether a value has several jobs, so that its mean says more than they do."""
        return any(len(jobs) > 1 for jobs in self.groups.values())

    @property
    def jobs(self) -> list[Tried]:
        """Those of all values."""
        return [job for jobs in self.groups.values() for job in jobs]

    def caption(self, scale: Scale) -> str:
        """The key, and from where to where its means go."""
        if not self.repeats:
            return self.key
        low, high = min(self.means.values()), max(self.means.values())
        return f"{self.key}: means {scale.text(low)} to {scale.text(high)}"

    def chart(self, scale: Scale) -> Markup:
        """Scores over its values where these are numbers, else a row for each value, the best first.

        Numbers of seeds and folds are names: nothing lies between them.
        """
        known = None if self.key in REPEATS else numbers(self.groups)
        marks, frame = self._by_rows(scale) if known is None else self._over(known, scale)
        means = ", ".join(f"{value} {scale.text(mean)}" for value, mean in [*self.means.items()][:_MOST_ROWS])
        return frame.svg(f"{scale.metric} by {self.key} of {counted(len(self.jobs), 'job')}, means: {means}", marks)

    def _over(self, known: Mapping[str, float], scale: Scale) -> tuple[list[Markup], Frame]:
        frame = Frame(axis_of([*known.values()], self.key), scale.axis([job.score for job in self.jobs], ""))
        marks = [
            _dot(*frame.at(known[value], job.score), job.title(scale))
            for value, jobs in self.groups.items()
            for job in jobs
        ]
        if self.repeats:
            points = [
                frame.at(number, mean) for number, mean in sorted((known[one], m) for one, m in self.means.items())
            ]
            marks.append(Markup('<path class="line train" d="M{}"/>').format("L".join(f"{x} {y}" for x, y in points)))
            marks += [Markup('<circle class="dot train" cx="{}" cy="{}" r="3.5"/>').format(x, y) for x, y in points]
        return marks, frame

    def _by_rows(self, scale: Scale) -> tuple[list[Markup], Frame]:
        shown = sorted(self.groups, key=lambda value: min(job.number for job in self.groups[value]))[:_MOST_ROWS]
        across = scale.axis([job.score for job in self.jobs], f"val {scale.metric}")
        rows = Axis(len(shown) - 0.4, -0.6, (), "", str)
        frame = Frame(across, rows, height=len(shown) * _ROW + _BELOW_ROWS)
        marks = []
        for row, value in enumerate(shown):
            (left, y), (right, _) = frame.at(across.low, row), frame.at(across.high, row)
            marks.append(Markup('<path class="grid" d="M{} {}H{}"/>').format(left, y, right))
            name = short(value, _LETTERS)
            marks.append(Markup('<text class="name" x="4" y="{}">{}</text>').format(round(y - 10, 1), name))
            marks += [_dot(*frame.at(job.score, row), job.title(scale)) for job in self.groups[value]]
            if self.repeats:
                x, _ = frame.at(self.means[value], row)
                marks.append(Markup('<path class="mean" d="M{} {}v14"/>').format(x, round(y - 7, 1)))
        return marks, frame


def effects(tried: Sequence[Tried]) -> list[Effect]:
    """One for each key with several values, in the order in which the jobs name them."""
    found = []
    for key in dict.fromkeys(key for job in tried for key in job.settings):
        groups: dict[str, list[Tried]] = {}
        for job in tried:
            if key in job.settings:
                groups.setdefault(job.settings[key], []).append(job)
        if len(groups) > 1:
            found.append(Effect(key, groups))
    return found


def _dot(x: float, y: float, title: str) -> Markup:
    return Markup('<g><title>{}</title><circle class="dot job" cx="{}" cy="{}" r="4"/></g>').format(title, x, y)
