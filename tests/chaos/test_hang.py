"""Reading that hangs: exit code 3 in bounded time, no process is left, and the next start goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.chaos.test_first_pass import make_photos
from tests.conftest import TINY

pytestmark = pytest.mark.slow

WORDS = [*(word for word in TINY if not word.startswith("dataset")), "dataset=folder", "dataset.path=photos"]
WORDS += ["tune=off", "name=run", "resume=auto", "trainer.workers=2", "quiet=true"]
# The n-th job of a kind that the command gives to a worker never ends.
SCRIPT = """
import os, signal, sys, time
from transfer_cli.__main__ import run
from transfer_cli.data.reading import workers

workers.TIMEOUT_SECONDS, workers._POLL_SECONDS, workers.AFTER_SIGNAL_SECONDS = 4, 1, 1
kind, hang, after = sys.argv.pop(1), sys.argv.pop(1), int(sys.argv.pop(1))
real, given = getattr(workers, kind), 0
hangs = {"sleep": lambda: time.sleep(10**6), "stop": lambda: os.kill(os.getpid(), signal.SIGSTOP)}

def patched(job, steps, count, *more):
    global given
    start, given = given, given + len(steps)
    last = after - start
    def hanging(step):
        if step - steps.start == last:
            open("hangs", "w").close()
            hangs[hang]()
        return job(step)
    return real(hanging, steps, count, *more)

setattr(workers, kind, patched)
run()
"""


def hanging(kind: str, hang: str, after: int, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, kind, hang, str(after), *WORDS, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def nothing_is_left(group: int) -> bool:
    """Within seconds."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.1)
    os.killpg(group, signal.SIGKILL)
    return False


@pytest.mark.parametrize(
    ("kind", "hang", "after", "words"),
    [
        ("_run_in_threads", "sleep", 5, []),
        ("_run_in_threads", "sleep", 45, ["dataset.store=disk"]),
        ("_run_in_processes", "sleep", 4, ["dataset.store=stream"]),
        ("_run_in_processes", "stop", 4, ["dataset.store=stream"]),
    ],
    ids=["first pass", "stored pixels", "worker", "stopped worker"],
)
def test_what_hangs_ends_the_run_and_the_next_goes_on(kind: str, hang: str, after: int, words: list[str]) -> None:
    make_photos(20, (60, 50))
    started = time.monotonic()
    process = hanging(kind, hang, after, *words)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 3, err
    assert time.monotonic() - started < 50
    assert err.startswith("error: ") and err.count("\n") == 1 and "Reading images failed" in err
    assert nothing_is_left(process.pid)
    for name in ("run", "whole"):
        again = hanging(kind, hang, 10**9, *words, f"name={name}")
        _, err = again.communicate(timeout=60)
        assert again.returncode == 0, err
    for file in ("model.safetensors", "metrics.jsonl", "predictions.csv"):
        assert Path("outputs/runs/run", file).read_bytes() == Path("outputs/runs/whole", file).read_bytes()


@pytest.mark.parametrize(
    ("kind", "after", "words"),
    [("_run_in_threads", 45, ["dataset.store=disk"]), ("_run_in_processes", 4, ["dataset.store=stream"])],
    ids=["threads", "processes"],
)
def test_a_signal_saves_what_was_trained_before_a_read_that_hangs(kind: str, after: int, words: list[str]) -> None:
    make_photos(20, (60, 50))
    process = hanging(kind, "sleep", after, *words, "trainer.checkpoint_every=1000")
    deadline = time.monotonic() + 60
    while not Path("hangs").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=25)
    assert process.returncode == 75, err
    assert "state saved" in err
    assert nothing_is_left(process.pid)
    for name in ("run", "whole"):
        again = hanging(kind, "sleep", 10**9, *words, "trainer.checkpoint_every=1000", f"name={name}")
        _, err = again.communicate(timeout=60)
        assert again.returncode == 0, err
    assert Path("outputs/runs/run/model.safetensors").read_bytes() == (
        Path("outputs/runs/whole/model.safetensors").read_bytes()
    )


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 75), (signal.SIGINT, 130)])
def test_a_signal_ends_what_hangs(number: signal.Signals, code: int) -> None:
    make_photos(20, (60, 50))
    process = hanging("_run_in_threads", "sleep", 5)
    deadline = time.monotonic() + 60
    while not list(Path("cache/pixels").glob(".filling-*")) and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.3)
    process.send_signal(number)
    _, err = process.communicate(timeout=25)
    assert process.returncode == code, err
    assert nothing_is_left(process.pid)
