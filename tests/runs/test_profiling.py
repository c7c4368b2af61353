"""trainer.profile=true, as a user runs it."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.conftest import TINY, Ended, summary
from transfer_cli.engine.devices.device import Compute
from transfer_cli.engine.steps.profile import READS, Profiled
from transfer_cli.runs.profiling import text_of

Command = Callable[..., Ended]
RUNS = Path("outputs/runs")


def test_a_run_says_what_its_steps_spend_their_time_on(command: Command) -> None:
    ended = command(*TINY, "name=seen", "trainer.profile=true")
    assert ended.code == 0 and "Kineto" not in ended.err, ended.err
    assert "forward" in next(line for line in ended.out.splitlines() if line.startswith("profile "))
    text = (RUNS / "seen" / "profile" / "summary.txt").read_text()
    assert len(text.splitlines()) < 30 and "numbers read by the host a step" in text
    with gzip.open(RUNS / "seen" / "profile" / "trace.json.gz") as file:
        names = {event.get("name") for event in json.load(file)["traceEvents"]}
    assert {"forward", "backward", "optimizer", "aten::convolution_backward"} <= names


@pytest.mark.slow
def test_looking_changes_nothing(command: Command) -> None:
    assert command(*TINY, "name=plain").code == 0
    assert command(*TINY, "name=seen", "trainer.profile=true").code == 0
    plain, seen = (RUNS / name / "model.safetensors" for name in ("plain", "seen"))
    assert plain.read_bytes() == seen.read_bytes()
    assert summary(RUNS / "seen")["config_hash"] == summary(RUNS / "plain")["config_hash"]


def test_where_there_is_nothing_to_look_at_that_is_said(command: Command) -> None:
    ended = command(*TINY, "strategy=extract", "trainer.profile=true")
    assert ended.code == 2 and "trainer.profile=true: strategy=extract takes no steps" in ended.err
    ended = command(*TINY, "trainer.profile=true", "trainer.epochs=1", "trainer.batch_size=64")
    assert ended.code == 0 and "1 steps are too few" in ended.out


def test_of_a_gpu_both_clocks_are_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "A GPU")
    counts = Counter({"cudaEventSynchronize": 5, "cudaStreamSynchronize": 10, READS: 10})
    found = Profiled(5, 256, {"forward": 0.03, "waiting": 0.07}, {"forward": 0.1}, 5, counts, [("gemm", 0.5)], None)
    text = text_of(found, Compute(torch.device("cuda", 0), "bf16"), Path("trace.json.gz"))
    assert "5 steps of 256 images on cuda (A GPU), bf16: 100.0 ms each, 2,560 images/s" in text
    assert "forward          30.00  30.0 %      100.00  100.0 %" in text
    assert "3.0 synchronisations a step" in text and "cudaStreamSynchronize: 10" in text
