"""How long a run trains where nobody says it: epochs, and how many of them may pass without a better one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tests.conftest import TINY, Ended, logged

Command = Callable[..., Ended]
RUN = Path("outputs/runs/run")
WORDS = ["optimizer.lr=0.01", "strategy.keep_probe=false", "tune=off", "name=run"]
# Whatever comes, the first epoch stays the best.
STILL = [*WORDS[1:], "optimizer.lr=1e-30", "strategy.batch_norm=frozen"]
OPEN = [word for word in TINY if not word.startswith("trainer.epochs")]


def trainer() -> dict[str, object]:
    found = yaml.safe_load((RUN / "config.yaml").read_text())["trainer"]
    assert isinstance(found, dict)
    return found


def accuracies() -> dict[int, float]:
    """On validation, by epoch."""
    return {row["epoch"]: row["accuracy"] for row in logged(RUN / "metrics.jsonl") if row["split"] == "val"}


def test_a_long_run_ends_on_a_plateau(command: Command) -> None:
    ended = command(*OPEN, *WORDS)
    assert ended.code == 0, ended.err
    assert "auto      trainer.patience=24: a quarter of 94 epochs without a better one" in ended.out
    assert "stopping: validation accuracy has not improved for 24 epochs" in ended.out
    assert (trainer()["epochs"], trainer()["patience"]) == (94, 24)
    found = accuracies()
    assert max(found) == max(found, key=lambda epoch: (found[epoch], -epoch)) + 24 < 94


@pytest.mark.parametrize(
    "words",
    [
        ["trainer.epochs=30"],
        *(pytest.param([word], marks=pytest.mark.slow) for word in ("trainer.steps=90", "scheduler=plateau")),
    ],
)
def test_a_length_that_was_asked_for_is_trained(command: Command, words: list[str]) -> None:
    ended = command(*OPEN, *WORDS, *words)
    assert ended.code == 0, ended.err
    assert (trainer()["patience"], "stopping" in ended.out) == (None, False)


def test_patience_counts_epochs_however_often_is_looked(command: Command) -> None:
    ended = command(*OPEN, *STILL, "trainer.epochs=30", "trainer.patience=5", "trainer.evaluate_every=3")
    assert ended.code == 0, ended.err
    assert max(accuracies()) == 9, "looked at after 3, 6 and 9: six epochs without a better one"
