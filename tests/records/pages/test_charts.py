"""Charts are well-formed for every shape of run; how they look was looked at."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest

from transfer_cli.records.pages.charts import Line, Point, curves, reliability, scatter, short_number
from transfer_cli.records.pages.frame import logarithmic
from transfer_cli.records.pages.predicted import Bin


def inside(chart: str) -> None:
    """Whether the chart can be read and nothing of it lies outside its picture."""
    root = ElementTree.fromstring(chart)
    _, _, width, height = map(float, root.attrib["viewBox"].split())
    assert root.attrib["aria-label"]
    for part in root.iter():
        for name, limit in (("cx", width), ("cy", height), ("x", width), ("y", height)):
            assert -1 <= float(part.attrib.get(name, 0)) <= limit + 1
        for x, y in re.findall(r"[ML](\S+) ([^LMHVv\s]+)", part.attrib.get("d", "")):
            assert 0 <= float(x) <= width and 0 <= float(y) <= height


@pytest.mark.parametrize("epochs", [1, 2, 13, 300])
@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_curves_of_any_length_and_size(epochs: int, scale: float) -> None:
    points = [(epoch, scale / epoch) for epoch in range(1, epochs + 1)]
    chart = curves("loss", [Line("train", points), Line("val", points[:1])], 1, share=False)
    assert chart is not None
    inside(chart)


def test_a_gap_where_a_value_was_not_finite() -> None:
    chart = curves("loss", [Line("train", [(1, 1.0), (2, None), (3, 0.5), (4, 0.4)])], None, share=False)
    assert chart is not None
    line = next(part for part in ElementTree.fromstring(chart) if part.attrib.get("class") == "line train")
    assert line.attrib["d"].count("M") == 2
    assert curves("loss", [Line("val", [(1, None)])], 1, share=False) is None


def test_equal_accuracies_stay_within_their_range() -> None:
    chart = curves("accuracy", [Line("val", [(1, 1.0), (2, 1.0)])], 2, share=True)
    assert chart is not None
    inside(chart)
    assert "100 %" in chart and "110 %" not in chart


def test_a_reliability_diagram() -> None:
    bins = [Bin(0.4, 0.5, 1, 0.0, 0.45), Bin(0.9, 1.0, 300, 1.0, 0.95)]
    chart = reliability(bins, 0.1)
    inside(chart)
    assert "1 image at 40 % to 50 %" in chart and "300 images at 90 % to 100 %" in chart
    kinds = [part.attrib["class"] for part in ElementTree.fromstring(chart) if "gap" in part.attrib.get("class", "")]
    assert kinds == ["gap over", "gap under"], "as confident as 0.45 and never right, as 0.95 and always right"
    bars = [part for part in ElementTree.fromstring(chart) if part.attrib.get("class") == "right"]
    assert [float(bar.attrib["width"]) for bar in bars] == [33.2, 33.2], "a tenth of the axis, but for a gap of 2"


def test_a_scatter_has_two_runs_and_escapes_their_names() -> None:
    points = [Point(1, "<b>&", 2.0, 0.5, None), Point(2, "c", 2000.0, 0.7, 0.6), Point(3, "free", 0.0, 0.9, 0.9)]
    chart = scatter(points, "seconds", "accuracy", share=True)
    assert chart is not None
    inside(chart)
    assert "<b>" not in chart
    assert chart.count('class="tag"') == 2
    assert scatter(points[1:], "seconds", "accuracy", share=True) is None


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0.5, "0.5"), (999.4, "999"), (999.7, "1k"), (12_345, "12.3k"), (999_700, "1M"), (4.2e6, "4.2M"), (999.9e6, "1G")],
)
def test_a_short_number_is_one_of_three_digits(value: float, shown: str) -> None:
    assert short_number(value) == shown


@pytest.mark.parametrize(("low", "high"), [(7.8, 14.8), (1.0, 1.0), (5.1, 5.2), (1e-4, 1e-2), (1.0, 9e5)])
def test_a_logarithmic_axis_says_where_it_is(low: float, high: float) -> None:
    axis = logarithmic([low, high], "seconds", str)
    assert 1 + (high > 1.5 * low) <= len(axis.ticks) <= 9
    assert all(0 <= axis.place(tick) <= 1 for tick in axis.ticks)
