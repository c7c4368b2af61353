"""Sweeps: jobs do not end each other, the leaderboard ranks them, the same command again runs what is missing."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import TINY, Ended, summary

Command = Callable[..., Ended]


def leaderboard(sweep: Path) -> list[dict[str, str]]:
    with (sweep / "leaderboard.csv").open() as file:
        return list(csv.DictReader(file))


def test_a_failing_job_leaves_the_others_alone(command: Command) -> None:
    # One of four jobs fails while running: its rate makes the loss overflow.
    ended = command(
        "-m", *TINY, "name=grid", "optimizer.lr=1e-3,1e-4", "optimizer.eps=1e-8", "seed=0,1", "trainer.epochs=1"
    )
    assert ended.code == 0, ended.err
    ended = command("-m", *TINY, "name=wild", "optimizer.lr=1e-3,1e-2,1e-4,1e30", "trainer.epochs=2")
    assert ended.code != 0
    rows = leaderboard(Path("outputs/sweeps/wild"))
    assert [row["status"] for row in rows] == ["completed"] * 3 + ["failed"]
    assert "not finite" in rows[-1]["error"]
    assert "optimizer.lr=1e+30" in rows[-1]["overrides"]
    page = Path("outputs/sweeps/wild/report.html").read_text()
    assert all(f'href="{job}/report.html"' in page for job in range(3)) and "not finite" in page
    accuracies = [float(row["val_accuracy"]) for row in rows[:3]]
    assert accuracies == sorted(accuracies, reverse=True)
    for row in rows[:3]:
        result = summary(row["run_directory"])
        assert float(row["test_accuracy"]) == result["test"]["accuracy"]
        assert float(row["seconds"]) > 0


def test_jobs_equal_single_runs(command: Command) -> None:
    command("-m", *TINY, "name=grid", "seed=0,1", "trainer.epochs=1")
    command(*TINY, "name=alone", "seed=1", "trainer.epochs=1")
    job, alone = Path("outputs/sweeps/grid/1"), Path("outputs/runs/alone")
    assert (job / "model.safetensors").read_bytes() == (alone / "model.safetensors").read_bytes()


def test_the_same_command_runs_what_is_missing(command: Command) -> None:
    words = ["-m", *TINY, "name=grid", "resume=auto", "seed=0,1", "trainer.epochs=1"]
    assert command(*words).code == 0
    sweep = Path("outputs/sweeps/grid")
    kept = (sweep / "0" / "summary.json").stat().st_mtime_ns
    seconds = {row["run_directory"]: row["seconds"] for row in leaderboard(sweep)}
    (sweep / "1" / "summary.json").unlink()
    assert command(*words).code == 0
    assert (sweep / "0" / "summary.json").stat().st_mtime_ns == kept
    rows = leaderboard(sweep)
    assert [row["status"] for row in rows] == ["completed", "completed"]
    again = [row["seconds"] == seconds[row["run_directory"]] for row in rows]
    assert sorted(again) == [False, True], "the time of the job that was complete is that of its training"


@pytest.mark.parametrize("seeds", ["1,0", "0"], ids=["other jobs", "fewer jobs"])
def test_a_sweep_goes_on_with_its_own_values_alone(command: Command, seeds: str) -> None:
    words = ["-m", *TINY, "name=grid", "resume=auto", "trainer.epochs=1"]
    assert command(*words, "seed=0,1").code == 0
    board = Path("outputs/sweeps/grid/leaderboard.csv")
    before = board.read_bytes()
    ended = command(*words, f"seed={seeds}")
    assert ended.code == 2
    assert "Choose another name" in ended.err or "choose another name" in ended.err
    assert board.read_bytes() == before


def test_a_sweep_goes_on_with_more_values(command: Command) -> None:
    words = ["-m", *TINY, "name=grid", "resume=auto", "trainer.epochs=1"]
    assert command(*words, "seed=0").code == 0
    assert command(*words, "seed=0,1").code == 0
    assert [row["status"] for row in leaderboard(Path("outputs/sweeps/grid"))] == ["completed", "completed"]


def test_a_taken_sweep_name_is_refused(command: Command) -> None:
    assert command("-m", *TINY, "name=grid", "seed=0,1", "trainer.epochs=1").code == 0
    ended = command("-m", *TINY, "name=grid", "seed=0,1", "trainer.epochs=1")
    assert ended.code == 2
    assert "resume=auto" in ended.err


def test_a_user_error_of_one_job_is_found_before_any_starts(command: Command) -> None:
    ended = command("-m", *TINY, "optimizer.lr=1e-3,1e-4", "strategy.label_smoothing=0.1,2")
    assert ended.code == 2
    assert "strategy.label_smoothing=2" in ended.err
    assert not Path("outputs").exists()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["strategy.l2sp.alpha=0,-1"], "strategy.l2sp.alpha=-1"),
        (["+strategy.l3sp.alpha=0,1"], "strategy.l3sp: no such key. Did you mean strategy.l2sp?"),
    ],
)
def test_a_wrong_regulariser_is_found_before_the_first_job(
    command: Callable[..., Ended], words: list[str], says: str
) -> None:
    ended = command("-m", *TINY, "name=wrong", *words)
    assert ended.code == 2, ended.out + ended.err
    assert says in ended.err
    assert not Path("outputs").exists()
