"""The leaderboard: the scores that the summaries hold, best first."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from transfer_cli.records.terminal import Reporter
from transfer_cli.sweeps import leaderboard


def job(folder: Path, number: int, **summary: Any) -> None:
    path = folder / str(number)
    path.mkdir(parents=True)
    failed = summary.get("status") == "failed"
    (path / "job.json").write_text(
        json.dumps({"overrides": [f"seed={number}"], "exit_code": 3 * failed, "seconds": 1.0})
    )
    (path / "summary.json").write_text(json.dumps(summary))


def written(folder: Path) -> list[dict[str, str]]:
    leaderboard.write(folder)
    with (folder / "leaderboard.csv").open() as file:
        return list(csv.DictReader(file))


def test_columns_are_the_scores_of_the_summaries_in_their_order(tmp_path: Path) -> None:
    job(tmp_path, 0, status="failed", error="out of memory", val=None)
    scores = {"auroc": 0.75, "accuracy": 0.5, "loss": 1.0}
    job(tmp_path, 1, status="completed", val=scores, test={"accuracy": 0.4, "new": 3})
    rows = written(tmp_path)
    assert list(rows[0]) == [
        *("overrides", "status", "val_auroc", "val_accuracy", "val_loss", "test_accuracy", "test_new"),
        *("seconds", "run_directory", "error"),
    ]
    assert [row["val_auroc"] for row in rows] == ["0.75", ""]
    assert rows[1]["error"] == "out of memory"


def test_completed_jobs_come_first_by_accuracy_then_by_loss(tmp_path: Path) -> None:
    job(tmp_path, 0, status="preempted", val={"accuracy": 0.9, "loss": 0.1})
    job(tmp_path, 1, status="completed", val={"accuracy": 0.5, "loss": 2.0})
    job(tmp_path, 2, status="completed", val={"accuracy": 0.5, "loss": 1.0})
    job(tmp_path, 3, status="completed", val={"accuracy": 0.7, "loss": 3.0})
    assert [Path(row["run_directory"]).name for row in written(tmp_path)] == ["3", "2", "1", "0"]


def test_finished_jobs_without_a_ledger_are_ranked(tmp_path: Path) -> None:
    job(tmp_path, 0, status="completed", val={"accuracy": 0.5, "loss": 2.0})
    (tmp_path / "0").rename(tmp_path / "lr-0.1_0123abcd")
    (tmp_path / ".trials").mkdir()
    assert [Path(row["run_directory"]).name for row in written(tmp_path)] == ["lr-0.1_0123abcd"]


@pytest.mark.parametrize("text", ["", "[]", "no json"])
def test_a_job_without_a_summary_has_a_row(tmp_path: Path, text: str) -> None:
    (tmp_path / "0").mkdir()
    (tmp_path / "0" / "summary.json").write_text(text)
    assert [row["status"] for row in written(tmp_path)] == ["unfinished"]


@pytest.mark.parametrize("wrong", ["x", 3, None, [], {}, {"accuracy": "x", "loss": []}, {"accuracy": 10**400}, True])
def test_values_of_another_kind_are_left_out(tmp_path: Path, wrong: Any) -> None:
    """Of summaries, jobs and ledgers that somebody edited, or a disk changed."""
    job(tmp_path, 0, status="completed", val={"accuracy": 0.5, "loss": 2.0})
    job(tmp_path, 1, status=wrong, val=wrong, test=wrong, metric=wrong, error=wrong)
    (tmp_path / "1" / "job.json").write_text(
        json.dumps({"overrides": wrong, "exit_code": wrong, "seconds": wrong, "error": wrong})
    )
    rows = [wrong, {"name": wrong, "overrides": wrong}, {"name": "../0", "overrides": []}, {"name": "a\0b"}]
    for ledger in (wrong, rows):
        (tmp_path / "jobs.json").write_text(json.dumps({"launch": wrong, "jobs": ledger}))
        first, second = written(tmp_path)
        assert (Path(first["run_directory"]).name, Path(second["run_directory"]).name) == ("0", "1")
        leaderboard.show(leaderboard.write(tmp_path), Reporter(quiet=True))


def test_it_is_written_after_a_job_only_while_that_takes_little_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It reads every job: written after each of a thousand it would take longer than they do."""
    clock, written = [0.0], []

    def write(folder: Path, objectives: object) -> None:
        written.append(clock[0])
        clock[0] += 1.0

    monkeypatch.setattr(leaderboard, "write", write)
    monkeypatch.setattr(leaderboard, "monotonic", lambda: clock[0])
    for _ in range(10):
        leaderboard.keep_up(tmp_path)
        clock[0] += 10.0
    assert written == [0.0, 21.0, 42.0, 63.0, 84.0]
