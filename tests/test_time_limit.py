"""A command ends before its wall time does, its state saved."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tests.conftest import TINY, Ended, summary
from transfer_cli import time_limit
from transfer_cli.config.durations import seconds_of


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        *(("90s", 90), ("3h50m", 13800), ("1.5h", 5400), ("1h2m3s", 3723)),
        *(("50m3h", None), ("", None), ("0s", None), ("3", None)),
    ],
)
def test_lengths_of_time(text: str, seconds: float | None) -> None:
    assert seconds_of(text) == seconds


def test_a_minute_at_most_is_left_for_saving() -> None:
    assert time_limit.margin(100) == 5
    assert time_limit.margin(10_000) == 60


def test_the_process_is_told_as_a_scheduler_would(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    told = threading.Event()
    monkeypatch.setattr(time_limit, "BEGAN", time.monotonic() - 94.9)
    monkeypatch.setattr(os, "kill", lambda pid, number: (pid, number) == (os.getpid(), signal.SIGTERM) and told.set())
    with time_limit.ended():
        time_limit.start("100s")
        time_limit.start("1s")
        assert not told.is_set()
        assert told.wait(10)
    assert "trainer.time_limit=100s is nearly over" in capsys.readouterr().err


def test_a_limit_beyond_what_a_clock_counts_is_none() -> None:
    with time_limit.ended():
        before = threading.active_count()
        time_limit.start("99999999999999h")
        assert threading.active_count() == before


@pytest.mark.slow
def test_a_run_saves_in_time_and_goes_on(tmp_path: Path) -> None:
    words = [*TINY, "name=run", "resume=auto", "trainer.epochs=100000", "trainer.time_limit=15s"]
    ended = subprocess.run(
        [sys.executable, "-m", "transfer_cli", *words], capture_output=True, text=True, timeout=120, check=False
    )
    assert ended.returncode == 75, ended.stderr
    assert "trainer.time_limit=15s is nearly over" in ended.stderr
    assert summary("outputs/runs/run")["status"] == "preempted"
    assert [*Path("outputs/runs/run/checkpoints").glob("state-*")]


def test_a_wrong_time_is_told(command: object) -> None:
    ended = command(*TINY, "trainer.time_limit=soon")  # type: ignore[operator]
    assert isinstance(ended, Ended)
    assert ended.code == 2
    assert "trainer.time_limit=soon: expected a time such as" in ended.err
