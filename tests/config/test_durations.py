"""Times and intervals as people write them."""

from __future__ import annotations

import pytest

from transfer_cli.config.durations import Interval, interval_of


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("auto", Interval(epochs=1, seconds=600)),
        (3, Interval(epochs=3)),
        ("3", Interval(epochs=3)),
        ("2 epochs", Interval(epochs=2)),
        ("500 steps", Interval(steps=500)),
        ("1step", Interval(steps=1)),
        ("10 min", Interval(seconds=600)),
        ("10 MIN", Interval(seconds=600)),
        ("90s", Interval(seconds=90)),
        ("1.5 h", Interval(seconds=5400)),
    ],
)
def test_intervals(written: str | int, meant: Interval) -> None:
    assert interval_of(written) == meant


@pytest.mark.parametrize("written", ["", "0", "0 min", "-1", "1.5 steps", "min", "10 parsecs", "often", "500 steps 2"])
def test_what_is_none(written: str) -> None:
    assert interval_of(written) is None
