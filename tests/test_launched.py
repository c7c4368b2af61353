"""What the environment says of processes that are one training."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import TINY, Ended, experiment
from transfer_cli import launched
from transfer_cli.errors import UserError
from transfer_cli.launched import Place, first_host, place_of
from transfer_cli.preflight import preflight

TORCHRUN = {"WORLD_SIZE": "4", "RANK": "3", "LOCAL_RANK": "1", "MASTER_ADDR": "first", "MASTER_PORT": "2950"}
SRUN = {"SLURM_STEP_NUM_TASKS": "8", "SLURM_PROCID": "5", "SLURM_LOCALID": "1", "SLURM_JOB_ID": "123456"}


def test_a_process_of_torchrun_or_srun_knows_its_place() -> None:
    assert place_of(TORCHRUN) == Place(3, 4, 1, "torchrun", "first", 2950)
    found = place_of({**SRUN, "SLURM_STEP_ID": "2", "SLURM_STEP_NODELIST": "gpu[07-09,12],cpu1"})
    assert found == Place(5, 8, 1, "srun", "gpu07", 23458)
    assert place_of({**SRUN, "MASTER_ADDR": "there", "MASTER_PORT": "7"}) == Place(5, 8, 1, "srun", "there", 7)


def test_processes_of_one_machine_share_its_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    assert launched.share_of(8) == 8
    monkeypatch.setattr(launched, "_taken", place_of({**TORCHRUN, "LOCAL_WORLD_SIZE": "3"}))
    assert [launched.share_of(cores) for cores in (8, 2)] == [2, 1]


def test_one_process_stands_alone() -> None:
    # Slurm sets the first in an interactive shell, where this is one process.
    for environment in ({}, {"SLURM_NTASKS": "4"}, {"WORLD_SIZE": "1", "RANK": "0"}, {"SLURM_STEP_NUM_TASKS": "1"}):
        assert place_of(environment) is None


@pytest.mark.parametrize(
    ("environment", "absent"),
    [({"WORLD_SIZE": "2"}, "RANK, LOCAL_RANK, MASTER_ADDR"), ({"SLURM_STEP_NUM_TASKS": "2"}, "SLURM_PROCID")],
)
def test_several_that_do_not_know_where_to_meet_are_refused(environment: dict[str, str], absent: str) -> None:
    """Each would train all of it, into one directory."""
    with pytest.raises(UserError, match=absent):
        place_of(environment)


@pytest.mark.parametrize(
    ("hosts", "first"),
    [
        ("a", "a"),
        ("a,b[1-2]", "a"),
        ("n[3-5]", "n3"),
        ("n[008,011]", "n008"),
        ("x-1[2-3,9],y", "x-12"),
        ("", "localhost"),
    ],
)
def test_the_first_host_of_a_list(hosts: str, first: str) -> None:
    assert first_host(hosts) == first


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["mode=rank", "rank.models=[resnet18]"], "trainer.devices=2: mode=rank runs on one device"),
        (
            ["strategy=extract", "strategy.solver=optimizer", "strategy.cache=false", "augment=none"],
            "trainer.devices=2: strategy.cache=false runs the backbone in every epoch, on one device",
        ),
        (["trainer.device=cuda:1"], r"trainer\.device=cuda:1 names one device"),
    ],
)
def test_what_does_not_run_on_several_ranks_says_so(
    words: list[str], message: str, command: Callable[..., Ended], monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = command(*TINY, "trainer.devices=2", *words)
    assert ended.code == 2 and ended.err.count("\n") == 1
    assert message.replace("\\", "") in ended.err
    assert not Path("outputs").exists()
    # The same of processes that a launcher has started.
    monkeypatch.setattr(launched, "_taken", Place(0, 2, 0, "torchrun", "here", 1))
    with pytest.raises(UserError, match=message.replace("trainer.devices=2: ", "torchrun has started 2 processes.*")):
        preflight(experiment(*TINY, *words))


def test_devices_must_agree_with_the_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launched, "_taken", Place(0, 4, 0, "srun", "here", 1))
    for devices in ("1", "4", "auto"):
        preflight(experiment(*TINY, f"trainer.devices={devices}"))
    with pytest.raises(UserError, match=r"trainer\.devices=2: srun has started 4 processes"):
        preflight(experiment(*TINY, "trainer.devices=2"))
