"""A training whose time is up ends with the best so far, as a complete run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import TINY, experiment, logged
from transfer_cli.records.terminal import Reporter
from transfer_cli.runs.train import train

STEPS = 3
"""Of an epoch: 42 images, 16 a step."""
RUN = Path("run")


def after(looks: int) -> Callable[[], bool]:
    """A clock by which time is up at the n-th look: one after each step, and one more at the end of each epoch."""
    seen = 0

    def out_of_time() -> bool:
        nonlocal seen
        seen += 1
        return seen >= looks

    return out_of_time


def trained(out_of_time: Callable[[], bool], *words: str) -> dict[str, Any]:
    e = experiment(*TINY, "trainer.epochs=9", "strategy.batch_norm=train", "tune=off", *words)
    return train(e, RUN, Reporter(quiet=True, prints_result=False), may_exist=True, out_of_time=out_of_time)


def evaluated() -> list[int]:
    return [event["epoch"] for event in logged(RUN / "metrics.jsonl") if event["split"] == "val"]


def test_in_the_middle_of_an_epoch_the_ones_before_count() -> None:
    found = trained(after(2 * (STEPS + 1) + 2))
    assert found["status"] == "completed"
    assert evaluated() == [1, 2]
    assert found["epochs"] == 2
    assert found["best_epoch"] in (1, 2)
    assert (RUN / "model.safetensors").is_file()
    assert found["test"] is not None


def test_in_the_first_epoch_what_it_has_learnt_is_evaluated() -> None:
    found = trained(after(1))
    assert found["status"] == "completed"
    assert evaluated() == [1]
    assert found["best_epoch"] == 1


@pytest.mark.parametrize("looks", [STEPS + 2, 2 * (STEPS + 1) + 1])
def test_epochs_that_nobody_has_evaluated_yet_are_not_lost(looks: int) -> None:
    found = trained(after(looks), "trainer.evaluate_every=4")
    assert evaluated() == [found["epochs"]]
    assert found["best_epoch"] == found["epochs"]


def test_after_the_last_step_of_an_epoch_it_ends_with_that_epoch() -> None:
    found = trained(after(STEPS))
    assert evaluated() == [1]
    assert found["epochs"] == 1
