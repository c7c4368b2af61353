"""`pareto.png`: what is on the front of several objectives, and what is behind it, by two of them in each panel."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from transfer_cli.config.objectives import COSTS, direction
from transfer_cli.records.plots import SEVERAL, SHAPES, save, short

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_NAMED_UP_TO = 12
_NAME_CHARACTERS = 44
_LOG_FROM = 8
_FEW_TICKS_FROM = 200


@dataclass(frozen=True)
class Weighed:
    """A configuration with a value for each objective, all known."""

    name: str
    values: tuple[float, ...]
    on_front: bool


def pareto(points: Sequence[Weighed], objectives: Sequence[str], path: Path) -> None:
    """A panel for each pair of objectives. Those on the front have their names in the legend, in their order."""
    from matplotlib.figure import Figure

    pairs = [pair(objectives, *two) for two in itertools.combinations(range(len(objectives)), 2)]
    figure = Figure(figsize=(4.2 + 4.8 * len(pairs), 4.4), layout="constrained")
    for axes, (x, y) in zip(figure.subplots(1, len(pairs), squeeze=False)[0], pairs, strict=True):
        _panel(axes, points, x, y, is_whole=len(objectives) == 2)
        _axis(axes, "x", objectives[x], [one.values[x] for one in points])
        _axis(axes, "y", objectives[y], [one.values[y] for one in points])
        axes.grid(color="0.92")
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
    left_out = sum(one.on_front for one in points) - _NAMED_UP_TO
    title = "On the front" + (f" ({left_out} more are not named)" if left_out > 0 else "")
    handles, labels = figure.axes[0].get_legend_handles_labels()
    legend = figure.legend(handles, labels, loc="outside right upper", frameon=False, title=title, alignment="left")
    for text in legend.get_texts():
        # A dollar sign in a value is no formula.
        text.set_parse_math(False)
    save(figure, path)


def pair(objectives: Sequence[str], one: int, other: int) -> tuple[int, int]:
    """The places of two objectives as (x, y): what costs goes to the right, a score up."""
    return (one, other) if objectives[one] in COSTS and objectives[other] not in COSTS else (other, one)


def _panel(axes: Axes, points: Sequence[Weighed], x: int, y: int, *, is_whole: bool) -> None:
    best = [one for one in points if one.on_front]
    if is_whole:
        # Of three objectives two are no front.
        line = sorted((one.values[x], one.values[y]) for one in best)
        axes.plot(*zip(*line, strict=True), color="0.6", linestyle=":", zorder=1)
    for number, one in enumerate(best):
        equal = sum(other.values == one.values for other in best[number + 1 :])
        axes.plot(
            *(one.values[x], one.values[y], SHAPES[number % len(SHAPES)]),
            color=SEVERAL[number % len(SEVERAL)],
            # Those that lie upon each other are all seen.
            markersize=8 + 4 * min(equal, 3),
            label=short(one.name, _NAME_CHARACTERS) if number < _NAMED_UP_TO else None,
        )
    behind = [(one.values[x], one.values[y]) for one in points if not one.on_front]
    if behind:
        axes.plot(*zip(*behind, strict=True), "o", color="0.75", markersize=6, zorder=1, label="behind it")


def _axis(axes: Axes, which: str, name: str, values: Sequence[float]) -> None:
    from matplotlib.ticker import EngFormatter, LogLocator, NullFormatter, PercentFormatter, StrMethodFormatter

    axis = axes.xaxis if which == "x" else axes.yaxis
    if is_logarithmic(name, values):
        axes.set(**{f"{which}scale": "log"})
        axis.set_major_locator(LogLocator(subs=(1, 2, 5) if max(values) / min(values) < _FEW_TICKS_FROM else (1,)))
        axis.set_minor_formatter(NullFormatter())
    if name == "train_seconds":
        axis.set_major_formatter(StrMethodFormatter("{x:g}"))
    elif name in COSTS:
        axis.set_major_formatter(EngFormatter(sep=""))
    elif name != "loss":
        axis.set_major_formatter(PercentFormatter(1))
    axes.set(**{f"{which}label": label_of(name)})


def is_logarithmic(name: str, values: Sequence[float]) -> bool:
    """Whether these values of an objective want a logarithmic axis: a cost that is many times larger for some."""
    return name in COSTS and min(values) > 0 and max(values) / min(values) >= _LOG_FROM


def label_of(name: str) -> str:
    """What an axis of an objective is called."""
    return f"{name.replace('_', ' ')} ({'low' if direction(name) == 'minimize' else 'high'} is better)"
