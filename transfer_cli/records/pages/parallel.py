"""Parallel coordinates (Inselberg 1985): an axis for each key of a sweep and one for the score, a line for each job."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from transfer_cli.errors import counted
from transfer_cli.records.pages.frame import Axis
from transfer_cli.records.pages.tried import Scale, Tried, axis_of, numbers
from transfer_cli.records.plots import short

_HEIGHT, _TOP, _BOTTOM, _LEFT, _RIGHT = 330, 36, 16, 96, 62
_APART = 150
_IN_FRONT = 0.1
"""This share of the jobs, the best ones, stands out."""
_LETTERS, _MOST_NAMES = 17, 16
_LARGEST = 1.2
"""Times its own size."""


def parallel(tried: Sequence[Tried], keys: Sequence[str], scale: Scale) -> Markup | None:
    """Jobs that have all `keys`, the best tenth drawn over the others; None with fewer than two keys or three jobs."""
    jobs = sorted((job for job in tried if all(key in job.settings for key in keys)), key=lambda job: job.number)
    if len(keys) < 2 or len(jobs) < 3:
        return None
    columns = [_column(key, [job.settings[key] for job in jobs]) for key in keys]
    columns.append((scale.axis([job.score for job in jobs], f"val {scale.metric}"), [job.score for job in jobs]))
    upright = _Upright([axis for axis, _ in columns])
    in_front = max(1, round(len(jobs) * _IN_FRONT))
    ways = [
        _way(upright.points([values[place] for _, values in columns]), job.title(scale), first=place < in_front)
        for place, job in enumerate(jobs)
    ]
    said = f"{counted(len(jobs), 'job')} over {', '.join(keys)} and {scale.metric}; best: {jobs[0].name}"
    return upright.svg(said, reversed(ways))


def _column(key: str, values: Sequence[str]) -> tuple[Axis, list[float]]:
    """The axis of a key, and where each job lies on it: names one above the other, as they come."""
    known = numbers(values)
    if known is not None:
        return axis_of([*known.values()], key), [known[value] for value in values]
    names = [*dict.fromkeys(values)]
    every = -(-len(names) // _MOST_NAMES)
    ticks = tuple(float(place) for place in range(0, len(names), every))
    axis = Axis(-0.5, len(names) - 0.5, ticks, key, lambda place: short(names[int(place)], _LETTERS))
    return axis, [float(names.index(value)) for value in values]


def _way(points: str, title: str, *, first: bool) -> Markup:
    return Markup('<g><title>{}</title><path class="way{}" d="M{}"/></g>').format(
        title, " first" if first else "", points
    )


@dataclass(frozen=True)
class _Upright:
    """Axes side by side."""

    axes: Sequence[Axis]

    @property
    def width(self) -> int:
        return _LEFT + _RIGHT + _APART * (len(self.axes) - 1)

    def points(self, values: Sequence[float]) -> str:
        """Of a job with these values, as the path from axis to axis."""
        return "L".join(f"{self._x(place)} {self._y(place, value)}" for place, value in enumerate(values))

    def svg(self, label: str, ways: Iterable[Markup]) -> Markup:
        """The picture; as wide as its axes need, so that a narrow page scrolls it, and hardly wider."""
        marks = Markup("").join([*ways, *(mark for place in range(len(self.axes)) for mark in self._axis(place))])
        return Markup(
            '<svg class="chart" style="min-width:{0}px;max-width:{1}px" viewBox="0 0 {0} {2}" role="img" '
            'aria-label="{3}">{4}</svg>'
        ).format(self.width, round(self.width * _LARGEST), _HEIGHT, label, marks)

    def _axis(self, place: int) -> Iterable[Markup]:
        axis, x = self.axes[place], self._x(place)
        yield Markup('<path class="axis" d="M{} {}V{}"/>').format(x, _TOP, _HEIGHT - _BOTTOM)
        yield Markup('<text class="name" x="{}" y="18" text-anchor="middle">{}</text>').format(x, short(axis.label, 20))
        for tick in axis.ticks:
            y = self._y(place, tick)
            yield Markup('<path class="axis" d="M{} {}h-5"/>').format(x, y)
            yield Markup('<text class="over" x="{}" y="{}" text-anchor="end">{}</text>').format(
                x - 8, round(y + 4, 1), axis.text(tick)
            )

    def _x(self, place: int) -> float:
        return float(_LEFT + _APART * place)

    def _y(self, place: int, value: float) -> float:
        floor = _HEIGHT - _BOTTOM
        return round(floor - self.axes[place].place(value) * (floor - _TOP), 1)
