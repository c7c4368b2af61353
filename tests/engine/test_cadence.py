"""When a state is due."""

from __future__ import annotations

from transfer_cli.config.durations import Interval
from transfer_cli.engine.cadence import Cadence


def test_steps_count_from_the_last_state() -> None:
    cadence = Cadence(Interval(steps=3))
    assert [step for step in range(1, 6) if cadence.is_due_within(step)] == [3, 4, 5]
    cadence.saved(4)
    assert [step for step in range(5, 9) if cadence.is_due_within(step)] == [7, 8]


def test_a_resumed_run_counts_from_where_it_stands() -> None:
    cadence = Cadence(Interval(steps=3))
    assert [step for step in range(101, 105) if cadence.is_due_within(step)] == [103, 104]


def test_time_counts_from_the_last_state() -> None:
    now = 0.0
    cadence = Cadence(Interval(epochs=2, seconds=600), clock=lambda: now)
    now = 599.0
    assert not cadence.is_due_within(1)
    now = 600.0
    assert cadence.is_due_within(2)
    cadence.saved(2)
    assert not cadence.is_due_within(3)


def test_epochs() -> None:
    cadence = Cadence(Interval(epochs=2))
    assert [epoch for epoch in range(1, 6) if cadence.is_due_after(epoch)] == [2, 4]
    assert not Cadence(Interval(steps=1000)).is_due_after(1)


def test_epochs_that_are_not_evaluated_postpone_a_state_and_no_more() -> None:
    cadence = Cadence(Interval(epochs=6))
    assert [epoch for epoch in range(4, 33, 4) if cadence.is_due_after(epoch)] == [8, 12, 20, 24, 32]
