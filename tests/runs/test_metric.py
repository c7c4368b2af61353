"""trainer.metric: the validation score that chooses the epoch, the head, the penalty, and the order of a sweep."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import TINY, Ended, logged, summary
from transfer_cli.methods.scores import rank

Command = Callable[..., Ended]
RUNS = Path("outputs/runs")
METRICS = ("accuracy", "macro_f1", "balanced_accuracy", "auroc", "loss", "top5_accuracy")


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("strategy", ["finetune", "extract"])
def test_the_epoch_of_the_highest_rank_is_kept(command: Command, metric: str, strategy: str) -> None:
    words = [f"strategy={strategy}", "trainer.epochs=4", "optimizer.lr=0.01", f"trainer.metric={metric}"]
    words += ["strategy.solver=optimizer"] if strategy == "extract" else []
    ended = command(*TINY, *words, "name=one")
    assert ended.code == 0, ended.err
    found = summary(RUNS / "one")
    epochs = {e["epoch"]: e for e in logged(RUNS / "one" / "metrics.jsonl") if e["split"] == "val"}
    assert len(epochs) == 4
    # The first of the highest.
    assert found["best_epoch"] == max(epochs, key=lambda epoch: (rank(epochs[epoch], metric), -epoch))
    assert found["val"][metric] == epochs[found["best_epoch"]][metric]
    assert metric in found["test"]
    assert found["metric"] == metric


@pytest.mark.parametrize("solver", ["lbfgs", "knn"])
def test_a_penalty_and_a_number_of_neighbours_are_chosen_by_it(command: Command, solver: str) -> None:
    words = ["strategy=extract", f"strategy.solver={solver}", "strategy.neighbours=[1,20]", "trainer.metric=loss"]
    assert command(*TINY, *words, "name=one").code == 0
    with (RUNS / "one" / "grid.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) > 1
    assert [row["chosen"] for row in rows] == ["True"] + ["False"] * (len(rows) - 1)
    if solver == "lbfgs":
        losses = [float(row["val_loss"]) for row in rows]
        assert losses == sorted(losses)


def test_a_leaderboard_is_in_its_order(command: Command) -> None:
    ended = command("-m", *TINY, "trainer.metric=loss", "optimizer.lr=1e-6,1e-2", "name=rates")
    assert ended.code == 0, ended.err
    with Path("outputs/sweeps/rates/leaderboard.csv").open() as file:
        losses = [float(row["val_loss"]) for row in csv.DictReader(file)]
    assert losses == sorted(losses)


def test_patience_counts_by_it(command: Command) -> None:
    still = ["optimizer=sgd", "optimizer.lr=1e-12", "optimizer.weight_decay=0", "strategy.batch_norm=frozen"]
    still += ["strategy.head_init=model"]
    ended = command(*TINY, *still, "trainer.epochs=9", "trainer.patience=2", "trainer.metric=loss", "name=short")
    assert "validation loss has not improved for 2 epochs" in ended.out


def test_a_mistyped_one_is_refused(command: Command) -> None:
    ended = command(*TINY, "trainer.metric=acuracy")
    assert ended.code == 2
    assert "trainer.metric=acuracy" in ended.err and "accuracy" in ended.err
