"""What launchers are told, and that a job which submitit stops is put into its queue again."""

from __future__ import annotations

import os
import signal
from types import SimpleNamespace
from typing import Any

import pytest
from hydra.core.hydra_config import HydraConfig

from tests.conftest import TINY, experiment
from transfer_cli.command.overrides import parse_overrides
from transfer_cli.errors import EXIT_INTERRUPTED, EXIT_PREEMPTED, Stopped
from transfer_cli.gpu_slots import Gpu
from transfer_cli.signals import handled
from transfer_cli.sweeps import one_job, presets
from transfer_cli.sweeps.ledger import Ledger


def words(launcher: str, *said: str) -> set[str]:
    overrides = parse_overrides([*TINY, *said])
    return {*presets.preset_words(launcher, [experiment(*overrides.without_hydra())], overrides)}


def test_slurm_is_told_what_a_job_needs() -> None:
    found = words("submitit_slurm", "trainer.device=cuda", "trainer.devices=2", "trainer.time_limit=3h50m")
    times = "hydra.launcher.max_num_timeout=1000"
    assert found == {
        *(f"hydra.launcher.{k}" for k in ("cpus_per_task=16", "gpus_per_node=2", "timeout_min=240")),
        times,
    }
    assert words("submitit_slurm") == {"hydra.launcher.cpus_per_task=8", times}, "trainer.device=cpu, no limit said"
    assert times not in words("submitit_slurm", "hydra.launcher.max_num_timeout=3"), "the command's word counts"


def test_what_a_launcher_is_told_is_enough_for_each_job() -> None:
    def told(*each: str) -> set[str]:
        several = [experiment(*TINY, "trainer.device=cpu", *one.split()) for one in each]
        return {*presets.preset_words("submitit_slurm", several, parse_overrides([]))}

    assert "hydra.launcher.timeout_min=240" in told("trainer.time_limit=1h", "trainer.time_limit=3h50m")
    assert not [word for word in told("trainer.time_limit=1h", "") if "timeout_min" in word], "one has no limit"
    found = told("trainer.devices=2", "trainer.device=cuda")
    assert {"hydra.launcher.gpus_per_node=2", "hydra.launcher.cpus_per_task=16"} <= found


def test_no_job_is_killed_after_an_hour() -> None:
    assert words("submitit_local") == {"hydra.launcher.timeout_min=10080"}
    assert words("submitit_local", "trainer.time_limit=90m") == {"hydra.launcher.timeout_min=100"}
    assert words("ray") == set()


@pytest.mark.parametrize(
    ("said", "gpus", "expected"),
    [
        (["trainer.device=cpu"], 4, 5),
        (["trainer.device=cuda"], 0, 5),
        (["trainer.device=cuda"], 4, 4),
        (["trainer.device=cuda", "sweep.jobs_per_device=3"], 4, 12),
        (["trainer.device=cuda", "trainer.devices=2"], 4, 2),
        (["trainer.device=cuda", "trainer.devices=auto"], 4, 1),
    ],
)
def test_as_many_jobs_at_once_as_there_is_room_for(
    said: list[str], gpus: int, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(presets, "installed", lambda: [Gpu(f"GPU-{n}", str(n), 0) for n in range(gpus)])
    monkeypatch.setattr(presets, "cpus", lambda: 20)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert words("joblib", *said) == {f"hydra.launcher.n_jobs={expected}"}


@pytest.mark.parametrize(
    ("code", "heard", "again"),
    [
        (EXIT_PREEMPTED, signal.SIGUSR2, True),
        (EXIT_PREEMPTED, signal.SIGUSR1, True),
        (EXIT_PREEMPTED, signal.SIGTERM, False),
        (EXIT_INTERRUPTED, signal.SIGINT, False),
    ],
)
def test_a_job_that_submitit_stops_is_queued_again(
    code: int, heard: int, again: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def stops(*_: Any) -> int:
        with handled((signal.Signals(heard),), lambda *_: None):
            signal.raise_signal(heard)
        raise Stopped(code, "")

    runtime = SimpleNamespace(runtime=SimpleNamespace(output_dir=f"{os.getcwd()}/sweep/job"))
    monkeypatch.setattr(HydraConfig, "get", lambda: runtime)
    job = SimpleNamespace(experiment=experiment(*TINY))
    monkeypatch.setattr(one_job, "read_ledger", lambda _: Ledger({"job": job}))  # type: ignore[dict-item]
    monkeypatch.setattr(one_job, "run_job", stops)
    monkeypatch.setenv("SUBMITIT_EXECUTOR", "slurm")
    before = signal.signal(signal.SIGUSR2, lambda number, _: asked.append(number))
    try:
        with pytest.raises(Stopped):
            one_job.run_for_hydra(None)  # type: ignore[arg-type]
    finally:
        signal.signal(signal.SIGUSR2, before)
    assert asked == ([signal.SIGUSR2] if again else [])
