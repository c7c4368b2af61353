"""The charts of a page as SVG: drawn by us, since they follow the page's light and dark and stay sharp at any width."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from transfer_cli.errors import counted
from transfer_cli.records.pages.frame import Axis, Frame, linear, logarithmic, whole
from transfer_cli.records.pages.predicted import Bin

_MARKED_UP_TO = 40
"""Epochs; of more a line says enough."""
_STRIP = 46
_EVERYTHING = (-math.inf, math.inf)
_SHARE = (0.0, 1.0)
NUMBERED_UP_TO = 20


def in_percent(value: float) -> str:
    """`75 %`."""
    return f"{100 * value:.4g} %"


@dataclass(frozen=True)
class Line:
    """A curve over the epochs; None, what was not finite, leaves a gap. `name` is also its colour: train or val."""

    name: str
    points: Sequence[tuple[int, float | None]]


def curves(name: str, lines: Sequence[Line], best_epoch: int | None, *, share: bool) -> Markup | None:
    """Curves over the epochs, the best epoch marked; None where there is no value. `share`: values are percentages."""
    values = [value for line in lines for _, value in line.points if value is not None]
    if not values:
        return None
    epochs = [epoch for line in lines for epoch, _ in line.points]
    text = in_percent if share else "{:.3g}".format
    y = linear(values, "", text, within=_SHARE if share else (0.0, math.inf))
    frame = Frame(whole(min(epochs), max(epochs), "epoch"), y)
    drawn: list[Markup] = []
    if best_epoch is not None and min(epochs) <= best_epoch <= max(epochs):
        x, top = frame.at(best_epoch, y.high)
        drawn.append(Markup('<path class="best" d="M{} {}V{}"/>').format(x, top, frame.base))
    for line in lines:
        drawn += _line(frame, line)
    ends = [f"{line.name} ends at {text(line.points[-1][1])}" for line in lines if line.points[-1][1] is not None]
    return frame.svg(f"{name} over epochs {min(epochs)} to {max(epochs)}: {', '.join(ends)}", drawn)


def _line(frame: Frame, line: Line) -> Iterable[Markup]:
    """Its pieces between gaps, and its markers: circles for training, squares for validation."""
    path, pen_down = "", False
    for epoch, value in line.points:
        if value is None:
            pen_down = False
            continue
        x, y = frame.at(epoch, value)
        path += f"{'L' if pen_down else 'M'}{x} {y}"
        pen_down = True
    yield Markup('<path class="line {}" d="{}"/>').format(line.name, path)
    if len(line.points) <= _MARKED_UP_TO:
        for epoch, value in line.points:
            if value is not None:
                yield _marker(line.name, *frame.at(epoch, value))


def _marker(kind: str, x: float, y: float) -> Markup:
    if kind == "train":
        return Markup('<circle class="dot {}" cx="{}" cy="{}" r="3"/>').format(kind, x, y)
    return Markup('<rect class="dot {}" x="{}" y="{}" width="6" height="6"/>').format(
        kind, round(x - 3, 1), round(y - 3, 1)
    )


def reliability(bins: Sequence[Bin], error: float) -> Markup:
    """Accuracy over confidence, the gap to it shaded, and below how many images each bin holds."""
    ticks = (0.0, 0.25, 0.5, 0.75, 1.0)
    x, y = (Axis(0, 1, ticks, label, in_percent) for label in ("confidence", "accuracy"))
    frame = Frame(x, y, bottom=_STRIP)
    most = max(one.images for one in bins)
    drawn = [mark for one in bins for mark in _bin(frame, one, most)]
    (x0, y0), (x1, y1) = frame.at(0, 0), frame.at(1, 1)
    drawn += [
        Markup('<path class="ideal" d="M{} {}L{} {}"/>').format(x0, y0, x1, y1),
        Markup('<path class="axis" d="M{} {}H{}"/>').format(x0, y0, x1),
        Markup('<text class="small" x="{}" y="{}">images in each bin, at most {}</text>').format(
            x0 + 4, y0 + 11, f"{most:,}"
        ),
    ]
    images = sum(one.images for one in bins)
    return frame.svg(f"Reliability diagram of {images:,} images, expected calibration error {error:.4f}", drawn)


def _bin(frame: Frame, one: Bin, most: int) -> Iterable[Markup]:
    """Its accuracy, the gap to its confidence, and below how many of `most` images it holds."""
    (left, top), (right, floor) = frame.at(one.low, one.accuracy), frame.at(one.high, 0)
    width = round(right - left - 2, 1)
    _, said = frame.at(0, one.confidence)
    gap = "over" if one.confidence > one.accuracy else "under"
    height = round(max(one.images / most * (_STRIP - 14), 1), 1)
    title = f"{counted(one.images, 'image')} at {in_percent(one.low)} to {in_percent(one.high)}"
    count = _bar("count", left + 1, frame.base - height, width, height)
    yield _bar("right", left + 1, top, width, floor - top)
    yield _bar(f"gap {gap}", left + 1, min(top, said), width, abs(said - top))
    yield Markup("<g><title>{}</title>{}</g>").format(title, count)


def _bar(kind: str, x: float, y: float, width: float, height: float) -> Markup:
    return Markup('<rect class="{}" x="{}" y="{}" width="{}" height="{}"/>').format(
        kind, round(x, 1), round(y, 1), width, round(height, 1)
    )


@dataclass(frozen=True)
class Point:
    """A run in a scatter: its number in the table, and its scores."""

    number: int
    name: str
    x: float
    val: float | None
    test: float | None


def scatter(points: Sequence[Point], x_label: str, y_label: str, *, share: bool) -> Markup | None:
    """Scores over a cost on a logarithmic axis, validation filled and test hollow; None with fewer than two runs."""
    shown = [point for point in points if point.x > 0 and (point.val is not None or point.test is not None)]
    if len(shown) < 2:
        return None
    scores = [score for point in shown for score in (point.val, point.test) if score is not None]
    text = in_percent if share else "{:.3g}".format
    y = linear(scores, "", text, within=_SHARE if share else _EVERYTHING)
    frame = Frame(logarithmic([point.x for point in shown], x_label, short_number), y)
    drawn = [mark for point in shown for mark in _scattered(frame, point, len(shown) <= NUMBERED_UP_TO)]
    return frame.svg(f"{y_label} over {x_label} of {len(shown)} runs; the table has the numbers", drawn)


def _scattered(frame: Frame, point: Point, numbered: bool) -> Iterable[Markup]:
    title = f"{point.number}: {point.name}"
    for kind, score in (("test", point.test), ("val", point.val)):
        if score is not None:
            x, y = frame.at(point.x, score)
            yield Markup('<g><title>{}, {} {:.4f}</title><circle class="{} dot" cx="{}" cy="{}" r="4.5"/></g>').format(
                title, kind, score, f"{kind} {'hollow' if kind == 'test' else ''}", x, y
            )
            if numbered and kind == ("val" if point.val is not None else "test"):
                yield Markup('<text class="tag" x="{}" y="{}">{}</text>').format(x + 7, y - 5, point.number)


def short_number(value: float) -> str:
    """`0.5`, `300`, `2k`, `12M`."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        # What rounds to a thousand of a unit is one of the next.
        if value >= 0.9995 * size:
            return f"{value / size:.3g}{unit}"
    return f"{value:.3g}"
