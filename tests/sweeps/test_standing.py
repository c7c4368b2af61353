"""How a sweep stands, as its folder says: counted whoever runs the jobs, read anew only where it may have changed."""

from __future__ import annotations

import json
import os
import platform
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import experiment
from transfer_cli.records.terminal import Reporter
from transfer_cli.sweeps import standing
from transfer_cli.sweeps.standing import Standing

SWEPT = {"optimizer.lr", "seed"}


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(standing, "monotonic", clock)
    return clock


def ledger(folder: Path, count: int) -> None:
    rows = [
        {"name": str(number), "overrides": ["model=m", f"optimizer.lr={number // 2}", f"seed={number % 2}"]}
        for number in range(count)
    ]
    (folder / "jobs.json").write_text(json.dumps({"launch": "x", "jobs": rows}))


def ends(folder: Path, job: int, accuracy: float, seconds: float = 10.0, status: str = "completed") -> None:
    path = folder / str(job)
    path.mkdir(exist_ok=True)
    content = {"status": status, "val": {"accuracy": accuracy, "loss": 1.0}}
    (path / "summary.json").write_text(json.dumps(content))
    words = ["model=m", f"optimizer.lr={job // 2}", f"seed={job % 2}"]
    ended = {"overrides": words, "exit_code": 3 if status == "failed" else 0, "seconds": seconds}
    (path / "job.json").write_text(json.dumps(ended))


def held(folder: Path, job: int) -> None:
    (folder / str(job)).mkdir()
    (folder / str(job) / ".holder.json").write_text(json.dumps({"host": platform.node(), "pid": os.getpid()}))


def test_jobs_are_counted_whoever_runs_them(tmp_path: Path, clock: Clock) -> None:
    ledger(tmp_path, 8)
    shown = Standing(tmp_path, SWEPT)
    assert shown.lines(100) == ["sweep  0/8 done  0 running  8 waiting  0 failed"]
    ends(tmp_path, 0, 0.5)
    ends(tmp_path, 1, 0.7)
    ends(tmp_path, 2, 0.9, status="failed")
    held(tmp_path, 3)
    (tmp_path / "4").mkdir()
    shown.begins("5")
    # Six jobs of ten seconds, two at once, neither of which has begun to count.
    assert shown.lines(100) == [
        "sweep  2/8 done  2 running  3 waiting  1 failed  25 s left",
        "best   accuracy 60.00 ± 14.14 %  optimizer.lr=0",
    ]
    clock.now += 4
    assert shown.lines(100)[0].endswith("  21 s left")
    ends(tmp_path, 4, 0.95)
    assert "optimizer.lr=0" in shown.lines(100)[1], "not read before it may have changed"
    clock.now += 1
    assert shown.lines(100)[1] == "best   accuracy 95.00 %  optimizer.lr=2"


def test_what_is_done_is_not_read_again(tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger(tmp_path, 4)
    for job in range(3):
        ends(tmp_path, job, 0.5)
    shown, seen = Standing(tmp_path, SWEPT), []
    assert shown.lines(100)[0].startswith("sweep  3/4 done")
    of = standing.status
    monkeypatch.setattr(standing, "status", lambda directory: seen.append(directory.name) or of(directory))
    for _ in range(3):
        clock.now += 10
        shown.lines(100)
    assert seen == ["3"] * 3


def test_a_job_is_done_with_its_time(tmp_path: Path, clock: Clock) -> None:
    """Its summary comes first, and its page and time after."""
    ledger(tmp_path, 2)
    ends(tmp_path, 0, 0.5)
    (tmp_path / "0" / "job.json").rename(tmp_path / "later")
    shown = Standing(tmp_path, SWEPT)
    assert shown.lines(100) == ["sweep  1/2 done  0 running  1 waiting  0 failed"]
    (tmp_path / "later").rename(tmp_path / "0" / "job.json")
    clock.now += 1
    assert shown.lines(100)[0].endswith("  10 s left") and "50.00 %" in shown.lines(100)[1]


def test_a_search_waits_for_trials_that_nobody_has_proposed(tmp_path: Path, clock: Clock) -> None:
    ledger(tmp_path, 2)
    ends(tmp_path, 0, 0.5, status="pruned")
    shown = Standing(tmp_path, SWEPT, trials=5)
    # The third trial proposed what the first did.
    shown.begins("1", asked=3)
    assert shown.lines(100) == ["sweep  1/4 done  1 running  2 waiting  0 failed  1 pruned  30 s left"]
    ledger(tmp_path, 6)
    held(tmp_path, 2)
    clock.now += 1
    assert shown.lines(100)[0].startswith("sweep  1/5 done  2 running  2 waiting")


@pytest.mark.parametrize(
    ("width", "first", "second"),
    [
        (60, "sweep  1/3 done  0 running  2 waiting  0 failed  20 s left", "best   accuracy 50.00 %  optimizer.lr=0"),
        (37, "sweep  1/3 done  0 running  20 s left", "best   accuracy 50.00 %  lr=0"),
        (20, "sweep  1/3 done", "best   accuracy 5..."),
    ],
)
def test_a_narrow_terminal_gets_what_matters(tmp_path: Path, width: int, first: str, second: str) -> None:
    ledger(tmp_path, 3)
    ends(tmp_path, 0, 0.5)
    lines = Standing(tmp_path, SWEPT).lines(width)
    assert lines == [first, second] and all(len(line) <= width for line in lines)


def test_a_folder_that_cannot_be_read_for_a_moment_ends_nothing(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger(tmp_path, 2)
    shown = Standing(tmp_path, SWEPT)
    before = shown.lines(100)

    def away(directory: Path) -> str:
        raise OSError("stale file handle")

    monkeypatch.setattr(standing, "status", away)
    clock.now += 1
    assert shown.lines(100) == before


@pytest.mark.parametrize("wrong", ["", "[]", '{"jobs": 3}', '{"jobs": [{"name": "../x", "overrides": []}]}'])
def test_a_ledger_that_is_gone_or_damaged_is_none(tmp_path: Path, wrong: str) -> None:
    shown = Standing(tmp_path, SWEPT)
    assert shown.lines(100) == ["sweep  0/0 done  0 running  0 waiting  0 failed"]
    (tmp_path / "jobs.json").write_text(wrong)
    shown.begins("x")
    assert shown.lines(100) == ["sweep  0/0 done  0 running  0 waiting  0 failed"]


def test_a_pipe_reads_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shown = Standing(tmp_path / "missing", SWEPT)
    calls: list[Any] = []
    shown.lines = calls.append  # type: ignore[assignment, method-assign]
    with shown.shown(Reporter(quiet=False), [experiment()]) as redraw:
        redraw()
    assert not calls and capsys.readouterr().out == ""
