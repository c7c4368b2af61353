"""What fits into a budget, in numbers."""

from __future__ import annotations

import pytest

from transfer_cli.config.durations import seconds_of
from transfer_cli.runs.automatic.plan import Plan, choose_plan


@pytest.mark.parametrize(
    ("text", "expected"),
    [("90s", 90), ("20m", 1200), ("1.5h", 5400), ("0s", None), ("20", None), ("x", None), ("", None)],
)
def test_durations(text: str, expected: float | None) -> None:
    assert seconds_of(text) == expected


def cost(plan: Plan, per_epoch: float) -> float:
    """Seconds that a plan of one backbone takes, counted candidate by candidate."""
    left, before, total = {"off": 1, "quick": 2, "full": 7}[plan.tune], 0.0, 0.0
    for rung in plan.rungs:
        total += left * (rung.share - before) * plan.epochs * per_epoch
        before, left = rung.share, rung.stay
    return total + (1 - before) * plan.epochs * per_epoch


@pytest.mark.parametrize("seconds", [5, 40, 100, 160, 300, 1000])
def test_a_plan_fits(seconds: float) -> None:
    plan = choose_plan(seconds, [2.0], 20)
    assert cost(plan, 2.0) <= max(seconds, 2.0)
    assert 1 <= plan.epochs <= 60
    assert Plan.from_dict(plan.to_dict()) == plan


def test_more_time_buys_a_deeper_search_then_longer_training() -> None:
    plans = [choose_plan(seconds, [1.0], 20) for seconds in (10, 20, 30, 60, 400)]
    assert [plan.tune for plan in plans] == ["off", "off", "quick", "full", "full"]
    assert [plan.epochs for plan in plans] == [10, 20, 20, 20, 60]


def test_a_second_backbone_only_where_there_is_time() -> None:
    assert choose_plan(10**6, [1.0, 3.0], 20).backbones == 2
    assert choose_plan(31, [1.0, 3.0], 20).backbones == 1
