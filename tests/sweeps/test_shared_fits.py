"""Heads of a sweep that differ in rate and decay alone train together, and each job has what it has alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm

from tests.conftest import TINY, Ended, logged, summary
from transfer_cli.records.events import Step
from transfer_cli.records.show import TerminalRecorder
from transfer_cli.runs.frozen.features import CachedFeatures
from transfer_cli.strategies import grid, shared_fits
from transfer_cli.strategies.extract import Fitting
from transfer_cli.sweeps import launching
from transfer_cli.sweeps.jobs import Job
from transfer_cli.sweeps.sharing import taking_part

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
    "words",
    [
        ["optimizer=adamw", "trainer.metric=macro_f1", "scheduler=cosine"],
        pytest.param(
            ["optimizer=sgd", "strategy.head=mlp", "strategy.hidden=16", "trainer.metric=loss"],
            marks=pytest.mark.slow,
        ),
    ],
)
def test_each_job_has_what_it_has_alone(command: Command, passes: list[int], words: list[str]) -> None:
    swept = ["optimizer.lr=0.003,0.1,1", "seed=0,1"]
    assert command("-m", *HEADS, *words, *swept, "name=heads").code == 0
    assert passes == [3, 3]
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
    assert passes == [3, 3, *[1] * 6]


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
    monkeypatch.setattr(shared_fits, "MOST_BYTES", 2 * head_bytes())
    assert command("-m", *HEADS, "optimizer.lr=0.01,0.02,0.03,0.04,0.05", "name=heads").code == 0
    assert passes == [2, 2, 1]


@pytest.mark.parametrize("elsewhere", [False, True])
def test_heads_that_wait_for_their_jobs_count_until_these_are_over(
    command: Command, passes: list[int], monkeypatch: pytest.MonkeyPatch, elsewhere: bool
) -> None:
    monkeypatch.setattr(shared_fits, "MOST_BYTES", 3 * head_bytes())

    def run_job(folder: Path, ledger: Any, job: Job, *rest: Any) -> int:
        e = job.experiment
        is_there = elsewhere and e.seed == 0 and e.optimizer.lr != 0.01
        return 0 if is_there else real(folder, ledger, job, *rest)

    real = launching.run_job
    monkeypatch.setattr(launching, "run_job", run_job)
    command("-m", *HEADS, "optimizer.lr=0.01,0.02,0.03", "seed=0,1", "name=heads")
    # Of the second seed one at first, since two of the first seed wait, and two once one of these has come.
    assert passes == [3, 1, 2]


def test_a_head_that_another_process_has_trained_is_no_companion(
    command: Command, passes: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    real, here = launching.run_job, iter([False, True, True])
    monkeypatch.setattr(launching, "run_job", lambda *given: real(*given) if next(here) else 0)
    command("-m", *HEADS, "optimizer.lr=0.01,0.02,0.03", "name=heads")
    assert passes == [2]


def test_who_comes_to_a_sweep_that_runs_trains_no_heads_of_jobs_to_come(command: Command, passes: list[int]) -> None:
    SWEEP.mkdir(parents=True)
    with taking_part(SWEEP):
        assert command("-m", *HEADS, "optimizer.lr=0.01,0.1", "name=heads", "resume=auto").code == 0
    assert passes == [1, 1]


def test_steps_are_told_as_they_are_trained(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[int] = []

    def step(_: TerminalRecorder, step: Step) -> None:
        told.append(step.images)

    monkeypatch.setattr(TerminalRecorder, "step", step)
    words = [*HEADS, "optimizer=sgd"]
    assert command(*words, "optimizer.lr=0.1", "name=alone").code == 0
    alone = [*told]
    told.clear()
    assert command("-m", *words, "optimizer.lr=0.1,0.01", "name=heads").code == 0
    assert told[: len(alone)] == alone and sum(told) == 2 * sum(alone)
    told.clear()
    assert command("-m", *words, "optimizer.lr=1e38,0.1", "name=others").code == 3
    # Not those that the other head took beyond its end.
    assert sum(told) < 2 * sum(alone)


def test_a_job_has_its_share_of_the_seconds(command: Command) -> None:
    assert command("-m", *HEADS, "optimizer.lr=0.01,0.1,1", "name=heads").code == 0
    first, *others = (summary(run) for run in sorted(SWEEP.glob("lr-*")))
    assert {one["train_seconds"] for one in others} == {first["train_seconds"]}
    assert first["seconds"]["others"] >= 2 * first["train_seconds"]
    assert all("others" not in one["seconds"] for one in others)


def test_what_has_other_labels_by_now_is_fitted_to_them(
    command: Command, passes: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = CachedFeatures.__init__
    changes = iter([False, True])

    def with_labels(features: CachedFeatures, *given: Any) -> None:
        real(features, *given)
        if next(changes):
            features._labels = {split: labels.flip(0) for split, labels in features._labels.items()}

    monkeypatch.setattr(CachedFeatures, "__init__", with_labels)
    assert command("-m", *HEADS, "optimizer.lr=0.01,0.1", "name=heads").code == 0
    assert passes == [2, 1]


def test_a_head_that_is_there_costs_no_reading_of_features(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    real = Fitting.table

    def table(f: Fitting, split: str) -> Any:
        read.append(split)
        return real(f, split)

    monkeypatch.setattr(Fitting, "table", table)
    assert command("-m", *HEADS, "optimizer.lr=0.01,0.1,1", "name=heads").code == 0
    assert read.count("train") == 1


def head_bytes() -> int:
    return 4 * (timm.create_model("test_resnet").num_features + 1) * 3
