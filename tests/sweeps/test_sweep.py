"""Sweeps: jobs do not end each other, the leaderboard ranks them, the same command again runs what is missing."""

from __future__ import annotations

import csv
import json
import os
import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import yaml

from tests.conftest import TINY, Ended, start, summary
from transfer_cli.config.schema import Experiment
from transfer_cli.errors import RunError
from transfer_cli.runs import train as trains
from transfer_cli.sweeps.ledger import status
from transfer_cli.sweeps.sharing import holding, taking_part

Command = Callable[..., Ended]
StopAt = Callable[[int | None], None]


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
    assert ended.code != 0 and "1 job failed: leaderboard.csv and report.html say why" in ended.out
    rows = leaderboard(Path("outputs/sweeps/wild"))
    assert Path(rows[-1]["run_directory"]).name.startswith("lr-1e30_")
    assert [row["status"] for row in rows] == ["completed"] * 3 + ["failed"]
    assert "not finite" in rows[-1]["error"]
    assert "optimizer.lr=1e+30" in rows[-1]["overrides"]
    page = Path("outputs/sweeps/wild/report.html").read_text()
    names = [Path(row["run_directory"]).name for row in rows]
    assert [f'href="{quote(name)}/report.html"' in page for name in names] == [True] * 3 + [False]
    assert "not finite" in page
    accuracies = [float(row["val_accuracy"]) for row in rows[:3]]
    assert accuracies == sorted(accuracies, reverse=True)
    for row in rows[:3]:
        result = summary(row["run_directory"])
        assert float(row["test_accuracy"]) == result["test"]["accuracy"]
        assert float(row["seconds"]) > 0


def directory(sweep: Path, word: str) -> Path:
    (row,) = [row for row in leaderboard(sweep) if word in row["overrides"].split(" ")]
    return Path(row["run_directory"])


def test_jobs_equal_single_runs(command: Command) -> None:
    command("-m", *TINY, "name=grid", "seed=0,1", "trainer.epochs=1")
    command(*TINY, "name=alone", "seed=1", "trainer.epochs=1")
    job, alone = directory(Path("outputs/sweeps/grid"), "seed=1"), Path("outputs/runs/alone")
    assert (job / "model.safetensors").read_bytes() == (alone / "model.safetensors").read_bytes()


def test_the_same_command_runs_what_is_missing(command: Command) -> None:
    words = ["-m", *TINY, "name=grid", "resume=auto", "seed=0,1", "trainer.epochs=1"]
    assert command(*words).code == 0
    sweep = Path("outputs/sweeps/grid")
    first, second = (directory(sweep, f"seed={seed}") for seed in (0, 1))
    kept = (first / "summary.json").stat().st_mtime_ns
    seconds = {row["run_directory"]: row["seconds"] for row in leaderboard(sweep)}
    (second / "summary.json").unlink()
    assert command(*words).code == 0
    assert (first / "summary.json").stat().st_mtime_ns == kept
    rows = leaderboard(sweep)
    assert [row["status"] for row in rows] == ["completed", "completed"]
    again = [row["seconds"] == seconds[row["run_directory"]] for row in rows]
    assert sorted(again) == [False, True], "the time of the job that was complete is that of its training"


def test_more_values_fewer_and_in_another_order(command: Command) -> None:
    words = ["-m", *TINY, "name=grid", "resume=auto", "trainer.epochs=1"]
    sweep = Path("outputs/sweeps/grid")
    assert command(*words, "seed=0,1").code == 0
    times = {job: job.stat().st_mtime_ns for job in sweep.glob("*/summary.json")}
    for seeds in ("1,0", "1"):
        ended = command(*words, f"seed={seeds}")
        assert ended.code == 0, ended.err
        assert {job: job.stat().st_mtime_ns for job in sweep.glob("*/summary.json")} == times
    assert "0 to run" in ended.out and "1 job of earlier commands" in ended.out
    ended = command(*words, "seed=0,1,2")
    assert ended.code == 0
    assert "2 jobs of them ran before, 1 to run" in ended.out
    assert [row["status"] for row in leaderboard(sweep)] == ["completed"] * 3
    assert {job: job.stat().st_mtime_ns for job in times} == times


def test_what_changes_no_result_may_be_swept_or_not(command: Command) -> None:
    assert command("-m", *TINY, "name=grid", "trainer.epochs=0", "seed=0", "trainer.workers=0,1").code == 0
    ended = command("-m", *TINY, "name=grid", "trainer.epochs=0", "seed=0,1", "trainer.workers=0", "resume=auto")
    assert ended.code == 0, ended.err
    assert "1 job of them ran before, 1 to run" in ended.out
    assert len(leaderboard(Path("outputs/sweeps/grid"))) == 3


def test_values_that_are_the_same_are_one_job(command: Command) -> None:
    assert command("-m", *TINY, "name=grid", "optimizer.lr=1e-3,0.001", "trainer.epochs=1").code == 0
    assert len(leaderboard(Path("outputs/sweeps/grid"))) == 1


def test_a_sweep_that_is_stopped_says_what_waits_and_goes_on(command: Command, stop_at: StopAt) -> None:
    words = ["-m", *TINY, "name=grid", "resume=auto", "seed=0,1", "trainer.epochs=1"]
    stop_at(1)
    assert command(*words).code == 75
    stop_at(None)
    assert sorted(row["status"] for row in leaderboard(Path("outputs/sweeps/grid"))) == ["preempted", "waiting"]
    assert command(*words).code == 0
    assert [row["status"] for row in leaderboard(Path("outputs/sweeps/grid"))] == ["completed"] * 2


def test_a_file_that_is_edited_changes_nothing_that_waits(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("own/augment").mkdir(parents=True)
    file = Path("own/augment/mine.yaml")
    file.write_text("defaults: [light, _self_]\nflip: 0.5\n")
    words = ["-m", *[word for word in TINY if "augment" not in word], "augment=mine", "--config-dir", "own"]
    words += ["name=grid", "resume=auto", "trainer.epochs=1"]
    train = trains.train

    def editing(*args: Any, **more: Any) -> Any:
        file.write_text("defaults: [light, _self_]\nflip: 0.25\n")
        return train(*args, **more)

    monkeypatch.setattr(trains, "train", editing)
    ended = command(*words, "seed=0,1")
    assert ended.code == 0, ended.err
    configs = [yaml.safe_load(path.read_text()) for path in Path("outputs/sweeps/grid").glob("*/config.yaml")]
    assert [config["augment"]["flip"] for config in configs] == [0.5, 0.5]
    ended = command(*words, "seed=0,1,2")
    assert ended.code == 2 and "augment.flip=0.25 (there 0.5)" in ended.err, "the third would be of another sweep"


def test_a_sweep_of_an_earlier_version_goes_on(command: Command) -> None:
    words = ["-m", *TINY, "name=grid", "resume=auto", "trainer.epochs=1"]
    assert command(*words, "seed=0").code == 0
    sweep = Path("outputs/sweeps/grid")
    directory(sweep, "seed=0").rename(sweep / "0")
    (sweep / "jobs.json").unlink()
    before = (sweep / "0" / "summary.json").stat().st_mtime_ns
    assert command(*words, "seed=0,1").code == 0
    assert (sweep / "0" / "summary.json").stat().st_mtime_ns == before
    assert sorted(row["status"] for row in leaderboard(sweep)) == ["completed", "completed"]


def test_what_failed_is_tried_again_unless_said_otherwise(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["-m", *TINY, "name=grid", "resume=auto", "seed=0,1,2", "trainer.epochs=1"]
    tried = []
    train = trains.train

    def failing(e: Experiment, *args: Any, **more: Any) -> Any:
        tried.append(e.seed)
        if e.seed == 1:
            raise RunError("the disk is full")
        return train(e, *args, **more)

    monkeypatch.setattr(trains, "train", failing)
    assert command(*words, "sweep.stop_on_failure=true").code == 3
    sweep = Path("outputs/sweeps/grid")
    assert sorted(row["status"] for row in leaderboard(sweep)) == ["completed", "failed", "waiting"]
    assert command(*words, "sweep.retry_failed=false").code == 3
    assert command(*words).code == 3
    assert tried == [0, 1, 2, 1]
    monkeypatch.setattr(trains, "train", train)
    assert command(*words).code == 0
    assert [row["status"] for row in leaderboard(sweep)] == ["completed"] * 3


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"launch": "", "jobs": [{"id": "0", "name": "../x", "overrides": [], "config": {}}]}']
)
def test_a_damaged_ledger_is_named(command: Command, text: str) -> None:
    words = ["-m", *TINY, "name=grid", "resume=auto", "trainer.epochs=1", "seed=0"]
    Path("outputs/sweeps/grid").mkdir(parents=True)
    Path("outputs/sweeps/grid/jobs.json").write_text(text)
    ended = command(*words)
    assert ended.code == 2 and "grid/jobs.json cannot be read" in ended.err


def test_a_job_that_another_process_runs_is_left_to_it(command: Command) -> None:
    words = ["-m", *TINY, "name=grid", "resume=auto", "seed=0,1", "trainer.epochs=0"]
    assert command(*words).code == 0
    sweep = Path("outputs/sweeps/grid")
    second = directory(sweep, "seed=1")
    (second / "summary.json").unlink()
    with taking_part(sweep), holding(sweep, second.name):
        # It has not come to its directory, where it failed before.
        (second / "job.json").write_text(json.dumps({"exit_code": 3}))
        ended = command(*words)
        assert ended.code == 0, ended.err
        assert "shared with other processes" in ended.out and "1 job of them still running" in ended.out
        holder = {"host": platform.node(), "pid": os.getpid()}
        (second / ".holder.json").write_text(json.dumps(holder))
        ended = command(*words)
    assert ended.code == 0 and "1 job of them still running" in ended.out, ended.err
    assert not (second / "summary.json").exists()
    assert command(*words).code == 0
    assert (second / "summary.json").exists()


def test_who_comes_later_does_not_try_again_what_failed(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["-m", *TINY, "name=grid", "resume=auto", "seed=0,1", "trainer.epochs=0"]
    tried = []

    def failing(e: Experiment, *args: Any, **more: Any) -> None:
        tried.append(e.seed)
        raise RunError("the disk is full")

    monkeypatch.setattr(trains, "train", failing)
    assert command(*words).code == 3
    with taking_part(Path("outputs/sweeps/grid")):
        assert command(*words).code == 3
    assert tried == [0, 1]
    assert command(*words).code == 3
    assert tried == [0, 1, 0, 1]


@pytest.mark.slow
def test_two_processes_share_the_jobs() -> None:
    words = ["-m", *TINY, "name=grid", "resume=auto", "seed=0,1,2,3,4,5", "trainer.epochs=1"]
    both = [start(*words) for _ in range(2)]
    outs = [process.communicate(timeout=300) for process in both]
    assert [process.returncode for process in both] == [0, 0], outs
    done = [json.loads(path.read_text())["launch"] for path in Path("outputs/sweeps/grid").glob("*/job.json")]
    assert len(done) == 6 and len({*done}) == 1, "one launch"
    results = [line for out, _ in outs for line in out.splitlines() if line.startswith("test ")]
    assert len(results) == 6, "each job trains once"
    assert [row["status"] for row in leaderboard(Path("outputs/sweeps/grid"))] == ["completed"] * 6


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


@pytest.mark.parametrize(("result", "found"), [("completed", "completed"), ("pruned", "pruned"), ("failed", "running")])
def test_what_is_done_is_done_whoever_held_it_last(tmp_path: Path, result: str, found: str) -> None:
    """A process of another machine that was killed while it wrote the page is not known to be gone."""
    (tmp_path / "summary.json").write_text(json.dumps({"status": result}))
    (tmp_path / ".holder.json").write_text(json.dumps({"host": "elsewhere", "pid": 1}))
    assert status(tmp_path) == found
