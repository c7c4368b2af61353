"""What is said of a network that learns nothing, and when it ends."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import TINY, Ended, summary, with_classes
from transfer_cli.engine.watch import Watch

Command = Callable[..., Ended]
WATCH = Watch(classes=10, share=0.1, images=1000, val_images=200)


def test_a_first_loss_far_above_guessing_is_said() -> None:
    assert WATCH.says_of_first(math.log(10)) is None
    assert WATCH.says_of_first(3.4) is None
    said = WATCH.says_of_first(6.1)
    assert said is not None
    assert "6.10" in said and "2.30" in said and "strategy.head_init=zero" in said


@pytest.mark.parametrize(
    ("accuracy", "val", "guesses"),
    [(0.1, 0.1, True), (0.12, 0.15, True), (0.2, 0.1, False), (0.1, 0.2, False), (0.1, None, True)],
)
def test_guessing_is_told_from_knowing(accuracy: float, val: float | None, guesses: bool) -> None:
    assert WATCH.guesses(accuracy, val) is guesses


DEAD = [
    *("optimizer=sgd", "optimizer.lr=1e-12", "optimizer.weight_decay=0", "strategy.head_init=model"),
    *("strategy.batch_norm=frozen", "tune=off", "dataset.samples=120", "trainer.epochs=60"),
]


def test_a_dead_network_is_warned_of_and_ends(command: Command) -> None:
    """84 images in steps of 16 are 6 steps an epoch: a warning after 50 steps, the end after 200 in the second half."""
    ended = command(*TINY, *DEAD, "name=dead")
    assert ended.code == 3
    assert "warning: after 54 steps the network is no better than guessing" in ended.err + ended.out
    assert "after 204 steps the network is no better than guessing; training on would not help" in ended.err
    assert summary("outputs/runs/dead")["status"] == "failed"


@pytest.mark.slow
def test_a_probe_is_kept_where_training_is_dead(command: Command) -> None:
    assert command(*TINY, "name=first", "trainer.epochs=4", "optimizer.lr=0.01").code == 0
    with_classes(Path("outputs/runs/first"), "ant", "bee", "cow")
    words = [*DEAD, "model.weights=outputs/runs/first", "dataset.num_classes=4"]
    ended = command(*TINY, *words, "name=kept")
    assert ended.code == 0, ended.err
    assert "stopping: after" in ended.err + ended.out
    assert summary("outputs/runs/kept")["best_epoch"] == 0


def test_a_network_that_learns_is_left_alone(command: Command) -> None:
    ended = command(*TINY, "dataset.samples=120", "trainer.epochs=12", "name=alive")
    assert ended.code == 0, ended.err
    assert "guessing" not in ended.err + ended.out
