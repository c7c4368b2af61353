"""Schedules: values at the corners, by hand."""

from __future__ import annotations

import pytest

from transfer_cli.config.optimizers import Constant, Plateau, Polynomial, Restarts, Scheduler, Smooth, Stairs
from transfer_cli.engine.schedule import rate_multiplier, warmup_steps

# 10 steps up from 0.1, 100 steps down to nothing.
UP = {"warmup": 10, "start": 0.1}
COSINE = Smooth("cosine", **UP, final=0.0)
LINEAR = Smooth("linear", **UP, final=0.0)
ONECYCLE = Smooth("onecycle", **UP, final=0.0)
CONSTANT = Constant("constant", **UP)
POLYNOMIAL = Polynomial("polynomial", **UP, final=0.0, power=2.0)
STEP = Stairs("step", **UP, every=40, factor=0.1)
RESTARTS = Restarts("restarts", **UP, final=0.0, cycles=2, growth=3.0)
PLATEAU = Plateau("plateau", **UP, final=0.0, factor=0.5, patience=2, min_delta=0.0)
ALL = [COSINE, LINEAR, ONECYCLE, CONSTANT, POLYNOMIAL, STEP, RESTARTS, PLATEAU]


def at(scheduler: Scheduler, step: int, total: int = 110, history: tuple[float, ...] = ()) -> float:
    return rate_multiplier(scheduler, step, total, history)


@pytest.mark.parametrize("scheduler", ALL, ids=lambda scheduler: scheduler.name)
def test_starts_at_start_and_reaches_one_after_warmup(scheduler: Scheduler) -> None:
    assert at(scheduler, 0) == pytest.approx(0.1)
    assert at(scheduler, 10) == pytest.approx(1.0)
    assert at(scheduler, 5) == pytest.approx(0.55)


@pytest.mark.parametrize("scheduler", ALL, ids=lambda scheduler: scheduler.name)
def test_stays_within_its_bounds_to_the_end_of_the_shortest_run(scheduler: Scheduler) -> None:
    for total in (1, 2, 9, 110):
        assert all(0 <= at(scheduler, step, total) <= 1 for step in range(total + 1))


def test_halfway_up_and_down() -> None:
    assert at(COSINE, 60) == pytest.approx(0.5)
    assert at(COSINE, 35) == pytest.approx((1 + 2**-0.5) / 2)
    assert at(LINEAR, 35) == pytest.approx(0.75)
    assert at(ONECYCLE, 2) == pytest.approx(1 - 0.9 * (1 + 0.8090169943749475) / 2)
    assert at(CONSTANT, 109) == pytest.approx(1.0)
    assert at(POLYNOMIAL, 60) == pytest.approx(0.25)
    assert at(POLYNOMIAL, 35) == pytest.approx(0.75**2)


def test_final_is_where_it_ends() -> None:
    assert at(Smooth("cosine", **UP, final=0.2), 110) == pytest.approx(0.2)
    assert at(Smooth("linear", **UP, final=0.2), 60) == pytest.approx(0.6)
    assert at(Polynomial("polynomial", **UP, final=0.2, power=3.0), 110) == pytest.approx(0.2)
    assert at(Polynomial("polynomial", **UP, final=0.2, power=3.0), 60) == pytest.approx(0.2 + 0.8 / 8)


def test_a_linear_polynomial_is_linear() -> None:
    power_one = Polynomial("polynomial", **UP, final=0.0, power=1.0)
    assert [at(power_one, step) for step in range(111)] == [at(LINEAR, step) for step in range(111)]


def test_steps_fall_by_a_factor_counted_from_the_start() -> None:
    assert [at(STEP, step) for step in (39, 40, 79, 80)] == pytest.approx([1, 0.1, 0.1, 0.01])
    # The BiT schedule: a tenth after 30, 60 and 90 % of 10 000 steps, warm-up included.
    bit = Stairs("step", warmup=500, start=0.0, every=0.3, factor=0.1)
    drops = [step for step in range(501, 10_000) if at(bit, step, 10_000) < at(bit, step - 1, 10_000)]
    assert drops == [3000, 6000, 9000]


def test_restarts_begin_each_cycle_at_the_full_rate_and_end_with_the_run() -> None:
    """Cycles of 25 and 75 steps after 10 of warm-up."""
    full = [step for step in range(10, 110) if at(RESTARTS, step) == 1.0]
    assert full == [10, 35]
    assert at(RESTARTS, 34) == pytest.approx(0.5 * (1 - 0.9921147013144779))  # cos(pi 24 / 25)
    assert at(RESTARTS, 35 + 25) == pytest.approx(0.75)
    assert at(RESTARTS, 110) == pytest.approx(0.0)


@pytest.mark.parametrize(("cycles", "growth"), [(3, 1.0), (7, 1.0), (4, 2.0), (3, 1.3)])
def test_every_restart_falls_on_a_step(cycles: int, growth: float) -> None:
    many = Restarts("restarts", warmup=0, start=0.0, final=0.0, cycles=cycles, growth=growth)
    assert sum(at(many, step, 1000) == 1.0 for step in range(1000)) == cycles


def test_one_cycle_of_restarts_is_cosine() -> None:
    one = Restarts("restarts", **UP, final=0.0, cycles=1, growth=2.0)
    assert [at(one, step) for step in range(111)] == [at(COSINE, step) for step in range(111)]


def test_plateau_follows_validation_and_nothing_else() -> None:
    history = (0.5, 0.6, 0.6, 0.59, 0.7, 0.7, 0.7, 0.7, 0.7)
    rates = [at(PLATEAU, 50, history=history[:epoch]) for epoch in range(10)]
    assert rates == [1, 1, 1, 1, 0.5, 0.5, 0.5, 0.25, 0.25, 0.125]
    assert at(PLATEAU, 20, history=history) == at(PLATEAU, 109, history=history) == 0.125
    floor = Plateau("plateau", **UP, final=0.2, factor=0.5, patience=2, min_delta=0.0)
    assert at(floor, 50, history=history) == 0.2
    assert at(PLATEAU, 5, history=history) == pytest.approx(0.55)


@pytest.mark.parametrize(
    ("warmup", "total", "steps"), [(0.1, 110, 11), (0, 110, 0), (5, 110, 5), (500, 110, 109), (0.3, 1, 0)]
)
def test_warmup_is_a_fraction_or_steps(warmup: float, total: int, steps: int) -> None:
    assert warmup_steps(warmup, total) == steps
