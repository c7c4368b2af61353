"""Heads of a sweep that differ in rate and decay alone train together, and each job has what it has alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm

from tests.conftest import TINY, Ended, logged, summary
from transfer_cli.strategies import grid, shared_fits

Command = Callable[..., Ended]

HEADS = [*TINY, "strategy=extract", "strategy.solver=optimizer", "trainer.epochs=4", "augment=none"]
SWEEP = Path("outputs/sweeps/heads")
TIMES = ("images_per_second", "seconds", "time")


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many heads each pass over the features trains."""
    found: list[int] = []
    real = grid.heads_of
    monkeypatch.setattr(grid, "heads_of", lambda f, heads: found.append(len(heads)) or real(f, heads))
    return found


def recorded(run: Path) -> list[dict[str, Any]]:
    return [{key: value for key, value in line.items() if key not in TIMES} for line in logged(run / "metrics.jsonl")]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["optimizer=adamw", "trainer.metric=macro_f1", "scheduler=cosine"], [3, 3]),
        (["optimizer=sgd", "strategy.head=mlp", "strategy.hidden=16", "trainer.metric=loss"], [3, 3]),
    ],
)
def test_each_job_has_what_it_has_alone(
    command: Command, passes: list[int], words: list[str], expected: list[int]
) -> None:
    swept = ["optimizer.lr=0.003,0.1,1", "seed=0,1"]
    assert command("-m", *HEADS, *words, *swept, "name=heads").code == 0
    assert passes == expected
    for rate in ("0.003", "0.1", "1"):
        for seed in ("0", "1"):
            name = f"{rate}-{seed}"
            assert command(*HEADS, *words, f"optimizer.lr={rate}", f"seed={seed}", f"name={name}").code == 0
            (shared,), alone = SWEEP.glob(f"lr-{rate}_seed-{seed}_*"), Path("outputs/runs", name)
            assert recorded(shared) == recorded(alone)
            for file in ("model.safetensors", "predictions.csv"):
                assert (shared / file).read_bytes() == (alone / file).read_bytes()
            for part in ("val", "test", "best_epoch", "epochs"):
                assert summary(shared)[part] == summary(alone)[part]
    assert passes == [*expected, *[1] * 6]


def test_one_that_diverges_fails_alone(command: Command, passes: list[int]) -> None:
    ended = command("-m", *HEADS, "optimizer=sgd", "optimizer.lr=0.01,1e38,0.1", "name=heads")
    assert ended.code == 3 and passes == [3]
    runs = sorted(SWEEP.glob("lr-*"))
    assert [summary(run)["status"] for run in runs] == ["completed", "completed", "failed"]
    alone = command(*HEADS, "optimizer=sgd", "optimizer.lr=1e38", "name=alone")
    assert alone.code == 3 and summary(runs[2])["error"] in alone.err
    assert recorded(runs[2]) == recorded(Path("outputs/runs/alone"))


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["optimizer.lr=0.01", "augment.views=2", "strategy.label_smoothing=0,0.1"], [1, 1]),
        (["optimizer.lr=0.01,0.1", "strategy.cache=false"], [1, 1]),
        (["optimizer.lr=0.01,0.1", "strategy.head=mlp", "strategy.hidden=9"], [1, 1]),
        (["optimizer.lr=0.01", "optimizer.weight_decay=0,1e-3,0.1"], [3]),
    ],
)
def test_what_else_differs_or_hangs_on_company_trains_alone(
    command: Command, passes: list[int], words: list[str], expected: list[int]
) -> None:
    assert command("-m", *HEADS, *words, "name=heads").code == 0
    assert passes == expected


def test_no_more_than_fit_into_memory_train_together(
    command: Command, passes: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    width, classes = timm.create_model("test_resnet").num_features, 3
    monkeypatch.setattr(shared_fits, "MOST_BYTES", 2 * 4 * width * classes)
    assert command("-m", *HEADS, "optimizer.lr=0.01,0.02,0.03,0.04,0.05", "name=heads").code == 0
    assert passes == [2, 2, 1]
