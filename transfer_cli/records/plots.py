"""Pictures of a run. Matplotlib without pyplot, whose import alone takes 0.6 s and which holds global state."""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from transfer_cli.files import atomic_write_bytes
from transfer_cli.records.metrics import Event
from transfer_cli.records.text import printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Blue and vermilion of Okabe and Ito (2008): told apart with any kind of colour vision, and in grey.
COLOURS = {"train": "#0072B2", "val": "#D55E00"}
MARKERS = {"train": "o", "val": "s"}
# The other colours of the same palette, without yellow, which is faint on white.
SEVERAL = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
SHAPES = "osD^vP"
_NUMBERS_UP_TO = 20
_LABELS_UP_TO = 60
_LABEL_CHARACTERS = 24
_DOTS_PER_INCH = 120


def curves(events: Sequence[Event], best_epoch: int, path: Path) -> None:
    """Loss and accuracy of each epoch, train and val, the best epoch marked; from the events of a metrics log."""
    from matplotlib.figure import Figure

    series = {split: [event for event in events if event.get("split") == split] for split in COLOURS}
    figure = Figure(figsize=(10, 4))
    figure.subplots_adjust(left=0.065, right=0.99, bottom=0.12, top=0.92, wspace=0.16)
    for axes, name in zip(figure.subplots(1, 2), ("loss", "accuracy"), strict=True):
        _curve(axes, name, series, best_epoch if series["val"] else None)
    save(figure, path)


def confusion_matrix(matrix: NDArray[np.int64], classes: Sequence[str], path: Path) -> None:
    """Counts [K, K] (row = true, column = predicted) in shades of each true class's share."""
    from matplotlib.colors import PowerNorm

    count = len(classes)
    side = min(max(3.0, 0.4 * count), 9.0)
    figure, axes = _square(side, _room_of(classes))
    shares = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    # The square root: mistakes are rare, and would be white on white.
    image = axes.imshow(shares, cmap="Blues", norm=PowerNorm(0.5, vmin=0, vmax=1))
    x, y, width, height = axes.get_position().bounds
    bar = figure.add_axes((x + 1.04 * width, y, 0.045 * width, height))
    figure.colorbar(image, cax=bar, label="share of the true class")
    accuracy = matrix.trace() / max(matrix.sum(), 1)
    axes.set(xlabel="predicted", ylabel="true", title=f"{matrix.sum():,} images, accuracy {100 * accuracy:.2f} %")
    _label_classes(axes, classes)
    if count <= _NUMBERS_UP_TO:
        _write_numbers(axes, matrix, shares)
    save(figure, path)


def grid(accuracies: NDArray[np.float64], rates: Sequence[float], decays: Sequence[float], path: Path) -> None:
    """Validation accuracy [decays, rates] of the heads of a grid; nan, what diverged, stays white."""
    from matplotlib.figure import Figure

    rows, columns = accuracies.shape
    figure = Figure(figsize=(2.5 + 0.65 * columns, 2.2 + 0.45 * rows), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(accuracies, cmap="Blues", aspect="auto")
    figure.colorbar(image, ax=axes, label="validation accuracy", format=lambda value, _: f"{100 * value:.1f} %")
    axes.set_xticks(range(columns), [f"{rate:.3g}" for rate in rates], rotation=90 if columns > 6 else 0)
    axes.set_yticks(range(rows), [f"{decay:.3g}" for decay in decays])
    axes.set(xlabel="learning rate", ylabel="weight decay")
    middle = (np.nanmin(accuracies) + np.nanmax(accuracies)) / 2 if np.isfinite(accuracies).any() else 0.0
    for row, column in np.ndindex(rows, columns) if columns <= _NUMBERS_UP_TO else ():
        value = accuracies[row, column]
        text, colour = (
            ("-", "black") if np.isnan(value) else (f"{100 * value:.1f}", "white" if value > middle else "black")
        )
        axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=8)
    save(figure, path)


def ranking(models: Sequence[str], measures: Mapping[str, Sequence[float]], path: Path) -> None:
    """A panel of bars for each measure, a bar a model, the first on top."""
    from matplotlib.figure import Figure

    height = 1.4 + 0.32 * len(models)
    figure = Figure(figsize=(2.5 + 2.4 * len(measures), height), layout="constrained")
    rows = range(len(models))
    for index, (axes, (name, values)) in enumerate(
        zip(figure.subplots(1, len(measures)), measures.items(), strict=True)
    ):
        axes.barh(rows, values, color=COLOURS["train"])
        axes.set_title(name)
        axes.set_yticks(rows, [short(model) for model in models] if index == 0 else [""] * len(models))
        axes.invert_yaxis()
        axes.spines[["top", "right"]].set_visible(False)
        low, high = min(*values, 0.0), max(*values, 0.0)
        axes.set_xlim(low, high + 0.3 * (high - low or 1))
        for row, value in zip(rows, values, strict=True):
            axes.text(max(value, 0), row, f" {value:.3f}", va="center", fontsize=8)
    save(figure, path)


def rates(
    tested: Sequence[float], losses: Sequence[float], average: Sequence[float], marked: Sequence[float], path: Path
) -> None:
    """The losses of a range test over the rates, their running average, and the rates that it suggests."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axes = figure.subplots()
    axes.plot(tested, losses, color="0.75", linewidth=1, label="loss of a step")
    axes.plot(tested, average, color=COLOURS["train"], label="running average")
    for rate, style in zip(marked, ("--", ":"), strict=False):
        axes.axvline(rate, color=COLOURS["val"], linestyle=style, label=f"{rate:.2g}")
    finite = [loss for loss in average if np.isfinite(loss)]
    if finite:
        low, first = min(finite), finite[0]
        axes.set_ylim(low - 0.1 * max(first - low, 0.1), first + max(first - low, 0.1))
    axes.set(xscale="log", xlabel="learning rate", ylabel="loss", title="Range test")
    axes.grid(color="0.92")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    save(figure, path)


def corruptions(accuracies: Mapping[str, Sequence[float]], clean: float, path: Path) -> None:
    """Accuracy under each corruption over its severity, from 1, with that of the pictures as they are before it."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator, PercentFormatter

    figure = Figure(figsize=(8, 4.4), layout="constrained")
    axes = figure.subplots()
    for number, (name, values) in enumerate(accuracies.items()):
        colour, marker = SEVERAL[number % len(SEVERAL)], SHAPES[number % len(SHAPES)]
        axes.plot(range(len(values) + 1), [clean, *values], color=colour, marker=marker, label=name.replace("_", " "))
    axes.set(xlabel="severity (0: as they are)", ylabel="accuracy", title="Corrupted pictures")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    axes.grid(color="0.92")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside right upper", frameon=False)
    save(figure, path)


@dataclass(frozen=True)
class Point:
    """A way of training in `comparison`: its seconds, and its scores as mean and deviation."""

    name: str
    seconds: float
    val: float
    deviation: float | None
    test: float | None


def comparison(points: Sequence[Point], metric: str, path: Path) -> None:
    """Validation scores with their deviation over seconds, best first in the legend; test scores hollow beside them.

    A band shows what lies within one deviation of the first.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, NullFormatter, PercentFormatter, ScalarFormatter

    figure = Figure(figsize=(9, 4.6), layout="constrained")
    axes = figure.subplots()
    best = points[0]
    if best.deviation:
        low, high = best.val - best.deviation, best.val + best.deviation
        axes.axhspan(low, high, color="0.93", label=f"within one deviation of {short(best.name)}")
    for number, point in enumerate(points):
        colour, marker = SEVERAL[number % len(SEVERAL)], SHAPES[number % len(SHAPES)]
        axes.errorbar(
            *(point.seconds, point.val, point.deviation),
            color=colour,
            fmt=marker,
            capsize=4,
            markersize=7,
            label=short(point.name),
        )
        if point.test is not None:
            axes.plot(point.seconds, point.test, marker, color=colour, markersize=7, fillstyle="none")
    axes.set(xscale="log", xlabel="seconds of a run", ylabel=metric, title="Filled: validation, hollow: test")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(ScalarFormatter())
    axes.xaxis.set_minor_formatter(NullFormatter())
    if metric != "loss":
        axes.yaxis.set_major_formatter(PercentFormatter(1))
    axes.grid(color="0.92")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside right upper", frameon=False)
    save(figure, path)


def _curve(axes: Axes, name: str, series: dict[str, list[Event]], best_epoch: int | None) -> None:
    from matplotlib.ticker import MaxNLocator, PercentFormatter

    if best_epoch is not None:
        axes.axvline(best_epoch, color="0.6", linestyle=":", label=f"best epoch ({best_epoch})")
    for split, events in series.items():
        if not events:
            continue
        epochs = [event["epoch"] for event in events]
        values = [event[name] for event in events]  # None, what was not finite, leaves a gap
        marker = MARKERS[split] if len(events) <= 40 else ""
        axes.plot(epochs, values, color=COLOURS[split], marker=marker, markersize=4, label=split)
    axes.set(xlabel="epoch", ylabel=name, title=name.capitalize())
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.margins(x=0.02)
    if name == "accuracy":
        axes.yaxis.set_major_formatter(PercentFormatter(1))
    axes.grid(color="0.92")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    if axes.lines:
        axes.legend(frameon=False)


def _square(side: float, names: float) -> tuple[Figure, Axes]:
    """A square of `side` inches with room for names beside and below it, and for a bar of colours.

    Measured, not laid out by matplotlib: that draws every text twice, and a run in a sweep of heads takes no longer.
    """
    from matplotlib.figure import Figure

    left, below, above, beside = names + 0.45, names + 0.45, 0.4, 0.11 * side + 0.75
    width, height = left + side + beside, below + side + above
    figure = Figure(figsize=(width, height))
    return figure, figure.add_axes((left / width, below / height, side / width, side / height))


def _room_of(classes: Sequence[str]) -> float:
    """Inches that the longest name takes."""
    size, wide = _text_size(len(classes)) / 72, 0.62
    return 0.15 + max(len(short(name)) for name in classes) * size * wide


def _text_size(classes: int) -> int:
    return 9 if classes <= 30 else 7


def _label_classes(axes: Axes, classes: Sequence[str]) -> None:
    """Name every class, or every n-th where names would overlap."""
    every = -(-len(classes) // _LABELS_UP_TO)
    positions = range(0, len(classes), every)
    names = [short(classes[position]) for position in positions]
    size = _text_size(len(classes))
    # A dollar sign in a class name is no formula.
    axes.set_xticks(positions, names, rotation=90, fontsize=size, parse_math=False)
    axes.set_yticks(positions, names, fontsize=size, parse_math=False)


def short(name: str, most: int = _LABEL_CHARACTERS) -> str:
    """A name as a label in a picture, of `most` characters."""
    name = printable(name.replace("\n", " "))
    return name if len(name) <= most else f"{name[: most - 3]}..."


def _write_numbers(axes: Axes, matrix: NDArray[np.int64], shares: NDArray[np.float64]) -> None:
    for row, column in zip(*matrix.nonzero(), strict=True):
        colour = "white" if shares[row, column] > 0.3 else "black"
        axes.text(column, row, f"{matrix[row, column]}", ha="center", va="center", color=colour, fontsize=8)


def save(figure: Figure, path: Path) -> None:
    """Write a figure as PNG, whole or not at all. Raises OSError."""
    picture = io.BytesIO()
    with warnings.catch_warnings():
        # A class name may hold characters that matplotlib's font lacks; the picture shows boxes for them.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        figure.savefig(picture, dpi=_DOTS_PER_INCH)
    atomic_write_bytes(path, picture.getvalue())
