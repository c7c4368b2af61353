"""Where the seconds went: no second counts twice."""

from __future__ import annotations

import pytest

from transfer_cli.runs import clock
from transfer_cli.runs.clock import Clock


def test_the_winners_epochs_of_a_search_are_training_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(clock.time, "perf_counter", lambda: now[0])
    one = Clock(went_on=False)
    for name, seconds in (("preparation", 2.0), ("search", 100.0), ("loop", 30.0), ("test", 1.0)):
        with one.part(name):
            now[0] += seconds
    # The winner trained 50 of the search's seconds.
    parts = one.parts(training=80.0)
    assert parts == {"preparation": 2.0, "search": 50.0, "training": 80.0, "test": 1.0}
    assert sum(parts.values()) == now[0]
