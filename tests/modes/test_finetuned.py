"""strategy=finetune, as a user runs it: what is printed and written, and that resuming changes nothing."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import TINY, Ended
from tests.modes.test_train import same_result

Command = Callable[..., Ended]
RUNS = Path("outputs/runs")

# Ways to train, each of which must survive a stop anywhere.
WAYS: dict[str, list[str]] = {
    "gradual": ["strategy.gradual=1", "trainer.epochs=4"],
    "gradual behind a cached prefix": ["strategy.gradual=1", "strategy.unfreeze=2", "augment=none", "trainer.epochs=4"],
}


def test_the_table_of_groups_is_said_and_written(command: Command) -> None:
    ended = command(
        *TINY, "name=one", "strategy.unfreeze=2", "strategy.gradual=1", "strategy.head_lr=10", "optimizer.lr=0.002"
    )
    assert ended.code == 0, ended.err
    line = "rates     stem to layer3 frozen, layer4 0.002 from epoch 2, head 0.02"
    assert line in ended.out.splitlines()
    with (RUNS / "one" / "parameters.csv").open() as file:
        rows = list(csv.DictReader(file))
    head = [row for row in rows if row["stage"] == "head"]
    assert [(row["learning_rate"], row["weight_decay"], row["trains_from_epoch"]) for row in head] == [
        ("0.02", "0.01", "1"),
        ("0.02", "0.0", "1"),
    ]
    assert [row["trains_from_epoch"] for row in rows if row["stage"] == "layer3"] == [""]


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS.keys())
def test_a_run_that_was_stopped_ends_as_one_that_was_not(
    command: Command, stop_at: Callable[[int | None], None], way: list[str]
) -> None:
    assert command(*TINY, *way, "name=whole").code == 0
    # Inside the first epoch, after the second has begun, and wherever that leaves the third stop.
    for looks in (3, 9, 9):
        stop_at(looks)
        ended = command(*TINY, *way, "name=parts", "resume=auto")
        assert ended.code == 75, ended.out + ended.err
    stop_at(None)
    assert command(*TINY, *way, "name=parts", "resume=auto").code == 0
    assert same_result(RUNS / "whole", RUNS / "parts")


@pytest.mark.parametrize("views", [["augment=none"], ["augment=light", "augment.views=2"]], ids=["plain", "views"])
@pytest.mark.parametrize("unfreeze", ["1", "2", "head"])
def test_a_cached_prefix_changes_no_bit(command: Command, views: list[str], unfreeze: str) -> None:
    words = [*TINY, *views, f"strategy.unfreeze={unfreeze}"]
    for cache in ("true", "false"):
        ended = command(*words, f"strategy.cache={cache}", f"name=cached_{cache}")
        assert ended.code == 0, ended.err
    assert same_result(RUNS / "cached_true", RUNS / "cached_false")
