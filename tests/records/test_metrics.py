"""The log survives any kill and never repeats an event."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from transfer_cli.records.metrics import MetricsLog, read


def test_events_come_back_in_order(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path / "m.jsonl")
    log.write(step=1, split="train", loss=np.float32(0.5))
    log.write(step=2, split="val", loss=0.25)
    log.flush()
    assert read(log.path) == [{"step": 1, "split": "train", "loss": 0.5}, {"step": 2, "split": "val", "loss": 0.25}]


def test_an_event_is_in_the_file_once_write_returns(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path / "m.jsonl")
    assert log.offset() == 0
    log.write(step=1)
    assert log.offset() == len(log.path.read_bytes()) == len(b'{"step": 1}\n')


def test_what_is_not_finite_becomes_null(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path / "m.jsonl")
    log.write(loss=float("nan"), grad=float("inf"), nested={"x": [float("-inf")]})
    assert log.path.read_text() == '{"loss": null, "grad": null, "nested": {"x": [null]}}\n'


def test_resume_forgets_what_came_after_the_state(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path / "m.jsonl")
    log.write(step=1)
    offset = log.offset()
    log.write(step=2)
    again = MetricsLog.resume(log.path, offset)
    again.write(step=2, again=True)
    assert read(log.path) == [{"step": 1}, {"step": 2, "again": True}]


def test_resume_creates_a_missing_log(tmp_path: Path) -> None:
    MetricsLog.resume(tmp_path / "m.jsonl", 0)
    assert read(tmp_path / "m.jsonl") == []


def test_resume_of_a_log_cut_shorter_goes_on_after_the_last_whole_line(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    path.write_bytes(b'{"step": 1}\n{"ste')
    MetricsLog.resume(path, 1000).write(step=9)
    assert path.read_bytes() == b'{"step": 1}\n{"step": 9}\n'


def test_a_torn_last_line_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    path.write_bytes(b'{"step": 1}\n{"step": 2, "lo')
    assert read(path) == [{"step": 1}]


def test_a_damaged_line_in_the_middle_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    path.write_bytes(b'{"st\n{"step": 2}\n')
    with pytest.raises(ValueError, match="Unterminated"):
        read(path)
