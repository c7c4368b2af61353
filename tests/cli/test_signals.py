"""Signals before training begins."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import TINY, Ended
from transfer_cli import cli
from transfer_cli.errors import EXIT_PREEMPTED
from transfer_cli.signals import PREEMPTING


@pytest.mark.parametrize("number", PREEMPTING)
def test_a_job_that_has_not_begun_ends_with_the_code_of_a_stopped_one(
    number: signal.Signals, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = signal.getsignal(number)

    def sent(argv: list[str]) -> int:
        signal.raise_signal(number)
        return 0

    monkeypatch.setattr(cli, "dispatch", sent)
    assert cli.main([]) == EXIT_PREEMPTED
    assert "before training began" in capsys.readouterr().err
    assert signal.getsignal(number) is before


@pytest.mark.parametrize(("name", "launcher"), [("WORLD_SIZE", "torchrun"), ("SLURM_STEP_NUM_TASKS", "srun")])
def test_processes_of_one_training_are_refused(
    name: str, launcher: str, command: Callable[..., Ended], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each would train all of it, into one directory."""
    monkeypatch.setenv(name, "2")
    ended = command(*TINY)
    assert ended.code == 2
    assert f"{name}=2: {launcher} has started 2 processes as one training" in ended.err
    assert not Path("outputs").exists()
    monkeypatch.setenv(name, "1")
    assert command(*TINY, "trainer.epochs=0").code == 0
