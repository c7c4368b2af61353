"""The frame of a chart as SVG: where a value lies in it, and round numbers for its axes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from markupsafe import Markup

WIDTH, HEIGHT = 440, 280
_LEFT, _RIGHT, _TOP, _BOTTOM = 66, 22, 10, 42
_FEW = 5


@dataclass(frozen=True)
class Axis:
    """Values from `low` to `high`, with the numbers that stand at it."""

    low: float
    high: float
    ticks: tuple[float, ...]
    label: str
    text: Callable[[float], str]
    log: bool = False

    def place(self, value: float) -> float:
        """0 at the low end, 1 at the high one."""
        low, high, value = (math.log(one) if self.log else one for one in (self.low, self.high, value))
        return (value - low) / (high - low)


def linear(values: Iterable[float], label: str, text: Callable[[float], str], *, within: tuple[float, float]) -> Axis:
    """An axis with room for all values, at round numbers; it goes not beyond `within`."""
    known = [*values]
    low, high = min(known), max(known)
    room = (high - low) * 0.06 or max(abs(high) * 0.1, 1e-3)
    low, high = max(low - room, within[0]), min(high + room, within[1])
    if high <= low:
        low, high = low - 0.5, high + 0.5
    step = _round_step((high - low) / _FEW)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return Axis(low, high, tuple(round(number * step, 12) for number in range(first, last + 1)), label, text)


def whole(low: int, high: int, label: str) -> Axis:
    """An axis of whole numbers, such as epochs."""
    step = max(1, round(_round_step(max(high - low, 1) / 8)))
    ticks = tuple(float(number) for number in range(low, high + 1) if number % step == 0 or high - low < step)
    room = max((high - low) * 0.02, 0.2)
    return Axis(low - room, high + room, ticks, label, "{:.0f}".format)


def logarithmic(values: Iterable[float], label: str, text: Callable[[float], str]) -> Axis:
    """An axis where every factor of ten takes the same room; values above 0."""
    known = [*values]
    low, high = min(known) / 1.25, max(known) * 1.25
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    factors = (1, 1.5, 2, 3, 5, 7) if high / low < 10 else (1, 2, 5) if high / low < 200 else (1,)
    ticks = tuple(factor * 10.0**power for power in powers for factor in factors)
    return Axis(low, high, tuple(tick for tick in ticks if low <= tick <= high), label, text, log=True)


def _round_step(step: float) -> float:
    power = 10.0 ** math.floor(math.log10(step))
    return next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= step * 0.999)


@dataclass(frozen=True)
class Frame:
    """Two axes; `bottom` is kept free below the values for something of its own."""

    x: Axis
    y: Axis
    bottom: int = 0
    height: int = HEIGHT

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Where a point lies, in the units of the picture."""
        across = _LEFT + self.x.place(x) * (WIDTH - _LEFT - _RIGHT)
        return round(across, 1), round(self.floor - self.y.place(y) * (self.floor - _TOP), 1)

    @property
    def floor(self) -> float:
        """Where the values end."""
        return self.height - _BOTTOM - self.bottom

    @property
    def base(self) -> float:
        """Where the axis below lies."""
        return self.height - _BOTTOM

    def svg(self, label: str, inside: Iterable[Markup]) -> Markup:
        """The picture with grid, axes and what is drawn in it; `label` says in words what it shows."""
        parts = Markup("").join([*self._grid(), *self._names(), *inside])
        return Markup('<svg class="chart" viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>').format(
            WIDTH, self.height, label, parts
        )

    def _grid(self) -> Iterable[Markup]:
        right = WIDTH - _RIGHT
        for tick in self.y.ticks:
            _, y = self.at(self.x.low, tick)
            yield Markup('<path class="grid" d="M{} {}H{}"/>').format(_LEFT, y, right)
            yield Markup('<text x="{}" y="{}" text-anchor="end">{}</text>').format(
                _LEFT - 7, round(y + 4, 1), self.y.text(tick)
            )
        yield Markup('<path class="axis" d="M{} {}H{}"/>').format(_LEFT, self.base, right)
        for tick in self.x.ticks:
            x, _ = self.at(tick, self.y.low)
            yield Markup('<path class="axis" d="M{} {}v4"/>').format(x, self.base)
            yield Markup('<text x="{}" y="{}" text-anchor="middle">{}</text>').format(
                x, self.base + 17, self.x.text(tick)
            )

    def _names(self) -> Iterable[Markup]:
        middle = (_LEFT + WIDTH - _RIGHT) / 2
        yield Markup('<text class="name" x="{}" y="{}" text-anchor="middle">{}</text>').format(
            middle, self.height - 5, self.x.label
        )
        if not self.y.label:
            return
        height = (self.floor + _TOP) / 2
        yield Markup(
            '<text class="name" x="12" y="{0}" text-anchor="middle" transform="rotate(-90 12 {0})">{1}</text>'
        ).format(height, self.y.label)
