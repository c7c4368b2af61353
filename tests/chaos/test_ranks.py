"""Ranks and their parent are ended in every way: the right exit code, a valid newest state, no process left."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import TINY, start, summary
from transfer_cli.engine.state_files import damage, states_in

pytestmark = pytest.mark.slow

LONG = [*TINY, "dataset.samples=300", "trainer.epochs=30", "tune=off", "trainer.devices=2", "name=run"]
RUN = Path("outputs/runs/run")


def ranks_of(parent: int) -> dict[int, int]:
    """Process numbers by rank."""
    found = {}
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, ValueError):
            variables = dict(one.split("=", 1) for one in (process / "environ").read_text().split("\0") if "=" in one)
            if int((process / "stat").read_text().rsplit(")", 1)[1].split()[1]) == parent and "RANK" in variables:
                found[int(variables["RANK"])] = int(process.name)
    return found


def is_there(process: int) -> bool:
    try:
        return (Path("/proc") / str(process) / "stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


@pytest.fixture
def training() -> Iterator[tuple[subprocess.Popen[str], dict[int, int]]]:
    """A run on two ranks, in its third epoch, and the processes of these; none may be left at the end."""
    process = start(*LONG, OMP_NUM_THREADS="1")
    assert process.stdout is not None
    for line in process.stdout:
        # The second is said when the state of the first is there.
        if line.startswith("epoch  2/"):
            break
    ranks = ranks_of(process.pid)
    assert sorted(ranks) == [0, 1]
    yield process, ranks
    deadline = time.monotonic() + 30
    while any(map(is_there, ranks.values())) and time.monotonic() < deadline:
        time.sleep(0.1)
    left = [rank for rank, one in ranks.items() if is_there(one)]
    for rank in left:
        os.kill(ranks[rank], signal.SIGKILL)
    assert not left, "processes are left"


def newest_is_valid() -> bool:
    return damage(states_in(RUN / "checkpoints")[-1]) is None


Training = tuple[subprocess.Popen[str], dict[int, int]]


@pytest.mark.parametrize(
    ("number", "code", "status"),
    [
        (signal.SIGTERM, 75, "preempted"),
        (signal.SIGUSR1, 75, "preempted"),
        (signal.SIGUSR2, 75, "preempted"),
        (signal.SIGINT, 130, "interrupted"),
    ],
)
def test_a_signal_ends_all_ranks_with_a_state(
    number: signal.Signals, code: int, status: str, training: Training
) -> None:
    process, _ = training
    process.send_signal(number)
    _, error = process.communicate(timeout=30)
    assert process.returncode == code
    assert error.count("stopped: at step") == 1 and error.count("\n") == 1
    assert summary(RUN)["status"] == status and newest_is_valid()


def test_a_signal_to_one_rank_ends_the_others_too(training: Training) -> None:
    process, ranks = training
    os.kill(ranks[1], signal.SIGTERM)
    process.communicate(timeout=30)
    assert process.returncode == 75
    assert summary(RUN)["status"] == "preempted" and newest_is_valid()


@pytest.mark.parametrize("rank", [0, 1])
def test_a_killed_rank_ends_the_other(rank: int, training: Training) -> None:
    process, ranks = training
    os.kill(ranks[rank], signal.SIGKILL)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 3
    assert error.startswith(f"error: rank {rank} was killed by signal 9 (SIGKILL)") and error.count("\n") == 1
    assert newest_is_valid()
    again = subprocess.run(
        [sys.executable, "-m", "transfer_cli", *LONG, "resume=auto", "trainer.epochs=30", "quiet=true"]
    )
    assert again.returncode == 0 and summary(RUN)["status"] == "completed"


def test_ranks_whose_parent_is_killed_save_and_end(training: Training) -> None:
    process, _ = training
    process.kill()
    process.communicate(timeout=60)
    assert summary(RUN)["status"] == "preempted" and newest_is_valid()


def test_a_rank_that_hangs_does_not_keep_the_run(training: Training) -> None:
    process, ranks = training
    os.kill(ranks[1], signal.SIGSTOP)
    process.send_signal(signal.SIGTERM)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 3 and "did not end within 25 s" in error
    assert newest_is_valid()


def _torchrun(words: list[str]) -> list[subprocess.Popen[str]]:
    arguments = ["-m", "torch.distributed.run", "--nproc-per-node", "2", "-m", "transfer_cli", *words]
    return [subprocess.Popen([sys.executable, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)]


def _srun(words: list[str]) -> list[subprocess.Popen[str]]:
    job = {"SLURM_STEP_NUM_TASKS": "2", "SLURM_JOB_ID": str(os.getpid()), "SLURM_STEP_NODELIST": "localhost"}
    return [start(*words, **job, SLURM_PROCID=rank, SLURM_LOCALID=rank) for rank in ("0", "1")]


@pytest.mark.parametrize("launch", [_torchrun, _srun])
def test_ranks_that_a_launcher_starts_are_one_run(launch: Callable[[list[str]], list[subprocess.Popen[str]]]) -> None:
    ended = [(process.communicate(timeout=120), process.returncode) for process in launch([*TINY, "tune=off"])]
    assert [code for _, code in ended] == [0] * len(ended)
    printed = "".join(out for (out, _), _ in ended)
    assert printed.count("epoch 2/2") == 1
    (run,) = Path("outputs/runs").iterdir()
    assert printed.endswith(f"{run}\n") and summary(run)["status"] == "completed"


@pytest.mark.parametrize("launch", [_torchrun, _srun])
def test_a_wrong_key_is_said_once(launch: Callable[[list[str]], list[subprocess.Popen[str]]]) -> None:
    ended = [(process.communicate(timeout=120), process.returncode) for process in launch([*TINY, "trainer.epoch=1"])]
    # torchrun itself ends with 1, whatever its processes end with.
    assert [code for _, code in ended] == ([1] if launch is _torchrun else [2, 2])
    assert "".join(error for (_, error), _ in ended).count("error: trainer.epoch: no such key.") == 1
    assert not Path("outputs").exists()


FEATURES = [word for word in TINY if not word.startswith(("dataset.samples", "model", "image_size"))]
FEATURES += ["strategy=extract", "dataset.samples=3000", "image_size=96", "trainer.devices=2", "tune=off", "name=run"]


@pytest.mark.parametrize(("rank", "number", "code"), [(None, signal.SIGTERM, 75), (1, signal.SIGKILL, 3)])
def test_features_go_on_where_ranks_were_ended(rank: int | None, number: int, code: int) -> None:
    """All by their parent, or one of them killed: what has been computed is not computed again."""
    process = start(*FEATURES, OMP_NUM_THREADS="1")
    deadline = time.monotonic() + 60
    while not list(Path("cache/activations").glob(".filling-*/stripe-*")) and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(process.pid if rank is None else ranks_of(process.pid)[rank], number)
    _, error = process.communicate(timeout=60)
    # What is left of a rank's launcher asks the first to stop, which says so as well.
    assert process.returncode == code and error.count("\n") == (1 if rank is None else 2)
    assert list(Path("cache/activations").glob(".filling-*"))
    again = start(*FEATURES, "resume=auto", OMP_NUM_THREADS="1")
    _, error = again.communicate(timeout=120)
    assert again.returncode == 0, error
    assert summary(RUN)["status"] == "completed" and 0 < summary(RUN)["backbone_images"] < 3000
    assert not list(Path("cache/activations").glob(".filling-*"))
