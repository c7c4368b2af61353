"""The log survives any kill and never repeats an event."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import logged
from transfer_cli.records.events import EpochEnd, RecorderSetup
from transfer_cli.records.metrics import NAME, MetricsRecorder, read
from transfer_cli.records.terminal import Reporter


def epoch(number: int, **scores: float) -> EpochEnd:
    return EpochEnd(epoch=number, step=10 * number, splits={"train": {"loss": 0.5}, "val": scores}, learning_rate=0.1)


def test_a_line_a_split_in_order_and_the_rate_with_training(tmp_path: Path) -> None:
    MetricsRecorder(tmp_path / "m.jsonl").epoch_ends(epoch(1, loss=0.25))
    assert logged(tmp_path / "m.jsonl") == [
        {"step": 10, "epoch": 1, "split": "train", "loss": 0.5, "learning_rate": 0.1},
        {"step": 10, "epoch": 1, "split": "val", "loss": 0.25},
    ]


def test_parts_of_the_loss_and_the_candidate_are_named(tmp_path: Path) -> None:
    end = EpochEnd(1, 10, {"train": {"loss": 0.5}}, loss_parts={"kd": 0.25}, candidate={"lr": 0.01})
    MetricsRecorder(tmp_path / "m.jsonl").epoch_ends(end)
    assert logged(tmp_path / "m.jsonl")[0] == {
        "step": 10,
        "epoch": 1,
        "split": "train",
        "loss": 0.5,
        "loss_parts": {"kd": 0.25},
        "lr": 0.01,
    }


def test_what_is_not_finite_becomes_null(tmp_path: Path) -> None:
    MetricsRecorder(tmp_path / "m.jsonl").epoch_ends(epoch(1, loss=float("nan"), grad=float("inf")))
    val = logged(tmp_path / "m.jsonl")[1]
    assert val["loss"] is None and val["grad"] is None


def test_a_resumed_log_has_each_epoch_once(tmp_path: Path) -> None:
    log = MetricsRecorder(tmp_path / "m.jsonl")
    log.epoch_ends(epoch(1, loss=1.0))
    saved = log.state()
    log.epoch_ends(epoch(2, loss=2.0))
    setup = RecorderSetup(tmp_path, Reporter(quiet=True), saved)
    (tmp_path / "m.jsonl").rename(tmp_path / NAME)
    MetricsRecorder.of_run(setup).epoch_ends(epoch(2, loss=3.0))
    assert [event["loss"] for event in logged(tmp_path / NAME) if event["split"] == "val"] == [1.0, 3.0]


GOOD = b'{"epoch": 1, "split": "val", "loss": 0.5}\n'


@pytest.mark.parametrize(
    "damaged", [b'{"epoch": 2, "lo', b'{"st\n', b"[]\n", b'{"epoch": 1, "split": "val"}\n', b"\x00\xff\n"]
)
def test_lines_that_are_no_events_are_left_out_and_counted(tmp_path: Path, damaged: bytes) -> None:
    path = tmp_path / "m.jsonl"
    path.write_bytes(GOOD + damaged)
    assert read(path) == ([{"epoch": 1, "split": "val", "loss": 0.5}], 1)
    if damaged.endswith(b"\n"):
        path.write_bytes(damaged + GOOD)
        assert read(path) == ([{"epoch": 1, "split": "val", "loss": 0.5}], 1)
