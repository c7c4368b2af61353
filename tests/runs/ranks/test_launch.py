"""The process that starts ranks: how many, and what it makes of how they end."""

from __future__ import annotations

import signal
import subprocess
import time
from pathlib import Path

import pytest
import torch

from tests.conftest import TINY, experiment
from transfer_cli.errors import RunError, Stopped, UserError
from transfer_cli.launched import CODE, pid_file
from transfer_cli.runs.ranks.launch import Frozen, Ranks, count_devices


def ended(folder: Path, codes: dict[int, int], own: int | None = None, asked: tuple[int, ...] = ()) -> int:
    """The code of two ranks, of which those in `codes` failed in this order and the first wrote `own`."""
    ranks = Ranks(folder, 2, list(asked))
    ranks.codes = codes
    if own is not None:
        (folder / CODE).write_text(str(own))
    return ranks.code()


@pytest.mark.parametrize(
    ("codes", "own", "code"),
    [
        ({}, 0, 0),
        ({1: 2, 0: 2}, 2, 2),
        ({0: 3, 1: 3}, 3, 3),
        ({0: 75, 1: 75}, 75, 75),
        ({1: 3, 0: 75}, 75, 3),
        ({1: 1, 0: 75}, 75, 1),
        ({1: 2, 0: 3}, 3, 2),
        ({1: 130, 0: 130}, 130, 130),
    ],
)
def test_the_code_is_that_of_the_first_to_fail_or_else_of_the_first_rank(
    codes: dict[int, int], own: int, code: int, tmp_path: Path
) -> None:
    assert ended(tmp_path, codes, own) == code


def test_a_rank_that_was_killed_is_named(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"rank 1 was killed by signal 9 \(SIGKILL\).*resume=auto"):
        ended(tmp_path, {1: -9, 0: 3}, 3)
    with pytest.raises(RunError, match=r"rank 0 was killed by signal 11"):
        ended(tmp_path, {0: -11, 1: 3})


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 75), (signal.SIGINT, 130)])
def test_ranks_that_a_signal_ends_before_they_can_say_so(number: int, code: int, tmp_path: Path) -> None:
    with pytest.raises(Stopped) as stopped:
        ended(tmp_path, {1: 75, 0: -15}, None, (number,))
    assert stopped.value.code == code
    # One that had said so, with its state saved, is believed.
    assert ended(tmp_path, {1: code, 0: code}, code, (number,)) == code
    assert ended(tmp_path, {}, 0, (number,)) == 0


def test_a_signal_waits_for_a_rank_that_cannot_take_it_yet(tmp_path: Path) -> None:
    ranks = Ranks(tmp_path, 1, [signal.SIGTERM])
    with subprocess.Popen(["sleep", "60"], start_new_session=True) as rank:
        ranks.hand_on()
        time.sleep(0.1)
        assert rank.poll() is None
        pid_file(tmp_path, 0).write_text(str(rank.pid))
        ranks.hand_on()
        assert rank.wait(10) == -signal.SIGTERM


def test_frozen_settings_come_back_as_they_were() -> None:
    frozen = Frozen(experiment(*TINY, "trainer.devices=2"), Path("there"), may_exist=True)
    assert Frozen.from_dict(frozen.to_dict()) == frozen


def test_devices_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    counts = [count_devices(experiment(*TINY, f"trainer.devices={devices}")) for devices in ("1", "3", "auto")]
    assert counts == [1, 3, 1]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    on_gpus = [*TINY, "trainer.device=cuda"]
    assert [count_devices(experiment(*on_gpus, f"trainer.devices={devices}")) for devices in ("2", "auto")] == [2, 2]
    # What one device does is not given more of them.
    live = ["strategy=extract", "strategy.cache=false"]
    assert count_devices(experiment(*on_gpus, "trainer.devices=auto", "strategy=extract")) == 2
    assert count_devices(experiment(*on_gpus, "trainer.devices=auto", *live)) == 1
    # As of a run that goes on, whose settings are known after the first checks.
    with pytest.raises(UserError, match=r"trainer\.devices=2: trainer\.device=cuda:0 names one device"):
        count_devices(experiment(*TINY, "trainer.device=cuda:0", "trainer.devices=2"))
    with pytest.raises(UserError, match=r"trainer\.devices=2: strategy\.cache=false runs the backbone"):
        count_devices(experiment(*TINY, *live, "trainer.devices=2"))
    with pytest.raises(UserError, match=r"trainer\.devices=3: this machine has 2 of cuda"):
        count_devices(experiment(*on_gpus, "trainer.devices=3"))
