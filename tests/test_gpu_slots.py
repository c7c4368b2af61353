"""One GPU a job, with eight pretended ones: never more jobs on one than may be, none idle while a job waits."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import experiment
from transfer_cli import gpu_slots
from transfer_cli.gpu_slots import Gpu, installed, offered

SMI = """#!/bin/sh
if [ "$1" = -L ]; then
  {listing}
  exit
fi
for n in {numbers}; do echo "GPU-$n, $n, $((1000 - n))"; done
"""
JOB = """
import os, sys, time
from tests.conftest import experiment
from transfer_cli import gpu_slots
gpu_slots.claim(experiment(*sys.argv[3:]), lambda text: None, wait=True)
with open(sys.argv[1], "a") as log:
    print(time.time(), "+", os.environ["CUDA_VISIBLE_DEVICES"], os.getpid(), file=log, flush=True)
    time.sleep(float(sys.argv[2]))
    print(time.time(), "-", os.environ["CUDA_VISIBLE_DEVICES"], os.getpid(), file=log, flush=True)
"""


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a pretended nvidia-smi, and locks of its own."""
    pretend(tmp_path)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return tmp_path


def pretend(folder: Path, count: int = 8, listing: str = "true") -> None:
    program = folder / "nvidia-smi"
    program.write_text(SMI.format(numbers=" ".join(map(str, range(count))), listing=listing))
    program.chmod(0o755)


def start(log: Path, seconds: float, *words: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", JOB, str(log), str(seconds), *words])


def events(log: Path) -> list[tuple[str, str]]:
    rows = sorted(line.split() for line in log.read_text().splitlines())
    return [(row[1], row[2]) for row in rows]


def test_which_are_there_and_which_are_offered(machine: Path) -> None:
    gpus = installed()
    assert gpus[3] == Gpu("GPU-3", "3", 997) and len(gpus) == 8
    assert [gpu.index for gpu in offered(gpus, "5,GPU-2,9,1")] == ["5", "2"]
    assert offered(gpus, "") == []
    pretend(
        machine, 2, "printf 'GPU 0: A (UUID: GPU-0)\\n  MIG 1g Device 0: (UUID: MIG-a)\\nGPU 1: A (UUID: GPU-1)\\n'"
    )
    assert [gpu.uuid for gpu in installed()] == ["MIG-a", "GPU-1"]
    (machine / "nvidia-smi").unlink()
    assert installed() == []


def test_a_run_by_hand_takes_the_emptiest_and_shares_where_all_are_taken(machine: Path) -> None:
    said: list[str] = []
    try:
        gpu_slots.claim(experiment("trainer.devices=2"), said.append, wait=False)
        assert os.environ["CUDA_VISIBLE_DEVICES"] == "GPU-7,GPU-6"
        gpu_slots.claim(experiment(), said.append, wait=False)
        assert len(said) == 1, "a process claims once"
        probe = "import sys; from tests.conftest import experiment; from transfer_cli import gpu_slots; "
        probe += "gpu_slots.claim(experiment(), print, wait=False)"
        ended = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
        assert "all 2 have a job already" in ended.stdout
    finally:
        gpu_slots.release()
        os.environ.pop("CUDA_VISIBLE_DEVICES", None)


@pytest.mark.parametrize("word", ["trainer.device=cpu", "trainer.device=cuda:1", "trainer.devices=auto"])
def test_who_names_a_device_claims_none(machine: Path, word: str) -> None:
    gpu_slots.claim(experiment(word), pytest.fail, wait=True)
    assert "CUDA_VISIBLE_DEVICES" not in os.environ


@pytest.mark.slow
@pytest.mark.parametrize("per_device", [1, 2])
def test_many_jobs_at_once(machine: Path, per_device: int) -> None:
    pretend(machine, 3)
    log = machine / "log"
    jobs = [start(log, 2.0, f"sweep.jobs_per_device={per_device}") for _ in range(10)]
    assert [job.wait(timeout=120) for job in jobs] == [0] * 10
    running: dict[str, int] = {}
    busiest = 0
    for sign, gpu in events(log):
        running[gpu] = running.get(gpu, 0) + (1 if sign == "+" else -1)
        assert running[gpu] <= per_device
        busiest = max(busiest, sum(running.values()))
    assert busiest == min(10, 3 * per_device), "none idle while a job waits"


@pytest.mark.slow
def test_the_claim_of_a_killed_job_is_free_at_once(machine: Path) -> None:
    pretend(machine, 1)
    log = machine / "log"
    first = start(log, 60)
    while not log.exists():
        time.sleep(0.05)
    second = start(log, 0)
    time.sleep(1)
    assert second.poll() is None
    first.send_signal(signal.SIGKILL)
    assert second.wait(timeout=30) == 0
    first.wait()
