"""The phases of steps, each counted once, and a trace of some more."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
import torch

from transfer_cli.data.batches import Batch
from transfer_cli.engine.steps import profile
from transfer_cli.engine.steps.clock import NoClock
from transfer_cli.engine.steps.profile import READS, Profile, Profiled

CPU = torch.device("cpu")


class Time:
    """A clock that goes on when it is told to."""

    now = 0.0

    def perf_counter(self) -> float:
        return self.now


def batches(count: int, clock: Time, seconds: float) -> Iterator[Batch]:
    for _ in range(count):
        clock.now += seconds
        yield Batch(torch.zeros(4, 1), torch.zeros(4, dtype=torch.int64), torch.zeros(4, dtype=torch.int64))


def run(one: Profile, clock: Time, epochs: int, steps: int) -> None:
    for _ in range(epochs):
        for _ in one.batches(batches(steps, clock, 1.0)):
            with one("forward"):
                clock.now += 2.0
                torch.ones(3).sum().item()
            with one("optimizer"):
                clock.now += 3.0
                with one("waiting"):
                    clock.now += 4.0
                clock.now += 1.0
            clock.now += 0.5
            one.step()
        clock.now += 100.0  # validation


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Time:
    made = Time()
    monkeypatch.setattr(profile, "time", made)
    return made


@pytest.mark.parametrize(
    ("epochs", "steps", "measured", "traced"), [(2, 12, 5, 5), (1, 2, 1, 1), (4, 2, 3, 3), (1, 40, 5, 5), (9, 3, 5, 3)]
)
def test_phases_are_those_of_the_steps_that_were_looked_at(
    clock: Time, epochs: int, steps: int, measured: int, traced: int
) -> None:
    seen: list[Profiled] = []
    run(Profile(CPU, epochs * steps, seen.append), clock, epochs, steps)
    (found,) = seen
    assert found.host == pytest.approx({"data": 1.0, "forward": 2.0, "optimizer": 4.0, "waiting": 4.0, "other": 0.5})
    assert (found.steps, found.images, found.device) == (measured, 4, {})
    assert found.traced <= traced and found.synchronisations[READS] == found.traced
    assert found.operations and "forward" not in dict(found.operations)


def test_nobody_looks_at_no_cost(clock: Time) -> None:
    nobody = NoClock()
    given = batches(1, clock, 1.0)
    assert nobody.batches(given) is given
    with nobody("forward"), nobody("waiting"):
        nobody.step()


def test_it_begins_after_a_warm_up() -> None:
    started = time.perf_counter()
    one = Profile(CPU, 1000, lambda found: None)
    for _ in range(9):
        one.step()
    assert one._marks == [] and time.perf_counter() - started < 1
