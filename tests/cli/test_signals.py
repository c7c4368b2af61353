"""Signals before training begins."""

from __future__ import annotations

import signal

import pytest

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
