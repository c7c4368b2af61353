"""Kill it, and go on: the end is byte-equal to a run that nobody touched."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import TINY, Ended, start, summary

Command = Callable[..., Ended]

# Dropout and BatchNorm, so that generators and statistics must come back too; long enough to be killed in the middle.
SLOW = [*[w for w in TINY if "epochs" not in w and "samples" not in w], "trainer.epochs=5", "dataset.samples=300"]
SLOW = [*SLOW, "model.name=test_efficientnet", "augment=standard", "resume=auto"]
FILES = ("model.safetensors", "metrics.jsonl", "predictions.csv")


def finished(*words: str) -> None:
    process = start(*words)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, out + err


def wait_for_epoch(run: Path, epoch: int, process: subprocess.Popen[str]) -> None:
    """Until the metrics hold an epoch, so that the next is under way."""
    metrics = run / "metrics.jsonl"
    deadline = time.monotonic() + 90
    while not (metrics.exists() and f'"epoch": {epoch}, "split": "val"' in metrics.read_text()):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)


def assert_same_end(one: Path, other: Path) -> None:
    for file in FILES:
        assert (one / file).read_bytes() == (other / file).read_bytes(), file
    assert summary(one)["test"] == summary(other)["test"]


@pytest.fixture(scope="module")
def untouched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run that nobody touched."""
    folder = tmp_path_factory.mktemp("untouched")
    finished(*SLOW, "name=untouched", f"output_dir={folder}")
    return folder / "runs" / "untouched"


@pytest.mark.parametrize(
    "stop",
    [
        signal.SIGKILL,
        *(pytest.param(number, marks=pytest.mark.slow) for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)),
    ],
)
def test_stopped_in_the_third_epoch_and_resumed(untouched: Path, stop: signal.Signals) -> None:
    run = Path("outputs/runs/stopped")
    process = start(*SLOW, "name=stopped", "trainer.workers=2")
    wait_for_epoch(run, 2, process)
    time.sleep(0.05)
    asked = time.monotonic()
    os.kill(process.pid, stop)
    _, err = process.communicate(timeout=60)
    expected = {signal.SIGKILL: -9, signal.SIGINT: 130}
    assert process.returncode == expected.get(stop, 75), err
    assert time.monotonic() - asked < 25
    if stop != signal.SIGKILL:
        assert "resume=auto" in err
        assert summary(run)["status"] == ("interrupted" if stop == signal.SIGINT else "preempted")
    finished(*SLOW, "name=stopped")
    assert_same_end(untouched, run)


@pytest.mark.slow
@pytest.mark.parametrize("pause", [0.0, 0.05])
def test_ctrl_c_twice_ends_it_at_once(pause: float) -> None:
    run = Path("outputs/runs/twice")
    process = start(*SLOW, "name=twice", "trainer.workers=2")
    wait_for_epoch(run, 1, process)
    for _ in range(2):
        os.kill(process.pid, signal.SIGINT)
        time.sleep(pause)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in err and "Exception ignored" not in err


@pytest.mark.slow
def test_a_signal_that_is_ignored_changes_nothing() -> None:
    """As SIGHUP under nohup, and SIGINT for a job in the background of a script."""
    both = (signal.SIGHUP, signal.SIGINT)
    words = [*SLOW, "name=ignoring", "trainer.epochs=3"]
    process = start(*words, preexec_fn=lambda: [signal.signal(number, signal.SIG_IGN) for number in both])
    wait_for_epoch(Path("outputs/runs/ignoring"), 1, process)
    for number in both:
        os.kill(process.pid, number)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 0, err


@pytest.mark.slow
def test_killed_again_and_again(untouched: Path) -> None:
    """Kills at odd moments, also while a state is written: each start goes on from the newest valid state."""
    run = Path("outputs/runs/often")
    for epoch in (1, 3):
        process = start(*SLOW, "name=often")
        wait_for_epoch(run, epoch, process)
        process.kill()
        process.communicate()
    finished(*SLOW, "name=often")
    assert_same_end(untouched, run)
    assert not list((run / "checkpoints").glob(".writing-*"))


@pytest.mark.slow
def test_a_damaged_newest_state_costs_one_epoch_and_a_warning(untouched: Path) -> None:
    run = Path("outputs/runs/damaged")
    process = start(*SLOW, "name=damaged")
    wait_for_epoch(run, 3, process)
    process.kill()
    process.communicate()
    newest = sorted((run / "checkpoints").glob("state-*"))[-1]
    weights = newest / "network.safetensors"
    weights.write_bytes(weights.read_bytes()[:-7])
    again = start(*SLOW, "name=damaged")
    out, err = again.communicate(timeout=120)
    assert again.returncode == 0, err
    assert f"warning: {newest}" in out
    assert_same_end(untouched, run)


def test_two_processes_one_directory(command: Command) -> None:
    # Longer than any start of the second process takes, however busy the machine.
    long = [*SLOW, "name=shared", "trainer.epochs=100000"]
    first = start(*long)
    wait_for_epoch(Path("outputs/runs/shared"), 1, first)
    second = command(*long)
    assert second.code == 2
    assert f"process {first.pid}" in second.err
    first.terminate()
    first.communicate(timeout=60)
    assert first.returncode == 75


@pytest.mark.slow
def test_interrupted_twice_stops_at_once_and_keeps_the_last_state() -> None:
    run = Path("outputs/runs/twice")
    process = start(*SLOW, "name=twice", "trainer.workers=2", "trainer.epochs=500")
    wait_for_epoch(run, 2, process)
    process.send_signal(signal.SIGINT)
    time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert process.returncode == 130
    orphans = subprocess.run(["pgrep", "-f", "name=twice"], capture_output=True, text=True, check=False)
    assert not orphans.stdout
    newest = sorted((run / "checkpoints").glob("state-*"))[-1]
    assert json.loads((newest / "state.json").read_text())["parts"]["progress"]["cursor"]["epoch"] >= 1
