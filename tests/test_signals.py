"""Handlers that come and go."""

from __future__ import annotations

import signal

from transfer_cli.signals import handled


def test_handlers_are_put_back_and_a_signal_that_is_ignored_stays_so() -> None:
    got: list[int] = []
    before = signal.signal(signal.SIGUSR2, signal.SIG_IGN), signal.getsignal(signal.SIGUSR1)
    try:
        with handled((signal.SIGUSR1, signal.SIGUSR2), lambda number, _: got.append(number)):
            for number in (signal.SIGUSR1, signal.SIGUSR2):
                signal.raise_signal(number)
        assert got == [signal.SIGUSR1]
        assert signal.getsignal(signal.SIGUSR2) is signal.SIG_IGN and signal.getsignal(signal.SIGUSR1) is before[1]
    finally:
        signal.signal(signal.SIGUSR2, before[0])
