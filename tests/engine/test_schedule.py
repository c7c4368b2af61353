"""Schedules: values at the corners, by hand."""

from __future__ import annotations

import pytest

from transfer_cli.engine.schedule import rate_multiplier, warmup_steps


def at(name: str, step: int, warmup: float = 10, start: float = 0.1, final: float = 0.0, total: int = 110) -> float:
    return rate_multiplier(name, step, total, warmup=warmup, start=start, final=final)


@pytest.mark.parametrize("name", ["cosine", "linear", "onecycle", "constant"])
def test_starts_at_start_and_reaches_one_after_warmup(name: str) -> None:
    assert at(name, 0) == pytest.approx(0.1)
    assert at(name, 10) == pytest.approx(1.0)


def test_halfway_up_and_down() -> None:
    assert at("cosine", 5) == pytest.approx(0.55)
    assert at("onecycle", 5) == pytest.approx(0.55)
    assert at("cosine", 60) == pytest.approx(0.5)
    assert at("cosine", 35) == pytest.approx((1 + 2**-0.5) / 2)
    assert at("linear", 35) == pytest.approx(0.75)
    assert at("onecycle", 2) == pytest.approx(1 - 0.9 * (1 + 0.8090169943749475) / 2)
    assert at("constant", 109) == pytest.approx(1.0)


def test_final_is_where_it_ends() -> None:
    assert at("cosine", 110, final=0.2) == pytest.approx(0.2)
    assert at("linear", 60, final=0.2) == pytest.approx(0.6)


@pytest.mark.parametrize(
    ("warmup", "total", "steps"), [(0.1, 110, 11), (0, 110, 0), (5, 110, 5), (500, 110, 109), (0.3, 1, 0)]
)
def test_warmup_is_a_fraction_or_steps(warmup: float, total: int, steps: int) -> None:
    assert warmup_steps(warmup, total) == steps
