"""The rule of the best epoch."""

from __future__ import annotations

import pytest

from transfer_cli.engine.best import Best, standard_error
from transfer_cli.engine.task import Classification

EPOCHS = [(0.5, 1.0), (0.8, 0.9), (0.8, 0.7), (0.8, 0.7), (0.7, 0.1)]
"""Accuracy and loss on validation."""


@pytest.mark.parametrize(("metric", "expected"), [("accuracy", 3), ("loss", 5)])
def test_the_first_of_the_highest_rank_wins(metric: str, expected: int) -> None:
    best, task = Best[str](), Classification(("a", "b"), metric)
    for epoch, (accuracy, loss) in enumerate(EPOCHS, 1):
        best.offer(epoch, {"accuracy": accuracy, "loss": loss}, task, lambda epoch=epoch: f"weights {epoch}")  # type: ignore[misc]
    assert (best.epoch, best.kept) == (expected, f"weights {expected}")
    assert best.val == dict(zip(("accuracy", "loss"), EPOCHS[expected - 1], strict=True))


def test_without_validation_the_last_wins() -> None:
    best, task = Best[int](), Classification(("a", "b"))
    assert all(best.offer(epoch, None, task, lambda epoch=epoch: epoch) for epoch in (1, 2, 3))  # type: ignore[misc]
    assert (best.epoch, best.kept) == (3, 3)


def test_weights_are_kept_only_of_what_is_better() -> None:
    best, task = Best[int](), Classification(("a", "b"))
    assert best.offer(1, {"accuracy": 0.5, "loss": 1.0}, task, lambda: 1)
    assert not best.offer(2, {"accuracy": 0.4, "loss": 1.0}, task, lambda: pytest.fail("kept"))


def test_it_comes_back_from_plain_values() -> None:
    best = Best[str](2, {"accuracy": 0.5}, "state")
    assert Best[str].from_dict(best.to_dict()) == best


def test_an_epoch_replaces_the_first_candidate_where_chance_does_not_explain_it() -> None:
    best, task = Best[int](), Classification(("a", "b"))
    best.offer(0, {"accuracy": 0.8, "loss": 1.0}, task, lambda: 0)
    best.margin = standard_error("accuracy", 0.8, 100)
    assert best.margin == pytest.approx(0.04)
    assert not best.offer(1, {"accuracy": 0.83, "loss": 0.1}, task, lambda: pytest.fail("kept"))
    assert Best[int].from_dict(best.to_dict()).margin == best.margin
    assert best.offer(2, {"accuracy": 0.85, "loss": 0.5}, task, lambda: 2)
    assert best.offer(3, {"accuracy": 0.86, "loss": 0.5}, task, lambda: 3)


def test_a_loss_is_no_share() -> None:
    assert standard_error("loss", 1.3, 100) == 0.0
