"""The signals that ask for an end, as far as this system has them."""

from __future__ import annotations

import signal
import sys
from typing import NoReturn

_OF_SCHEDULERS = ("SIGTERM", "SIGUSR1", "SIGUSR2", "SIGHUP")

PREEMPTING = tuple(signal.Signals[name] for name in _OF_SCHEDULERS if name in signal.Signals.__members__)
"""What schedulers and closed terminals send: the state is saved, and the run can go on."""
ENDING = (signal.SIGINT, *PREEMPTING)
"""These, and Ctrl-C."""


def leave(code: int) -> NoReturn:
    """All is done and said: a signal while Python takes itself down would only change the exit code."""
    for number in ENDING:
        signal.signal(number, signal.SIG_IGN)
    sys.exit(code)


def is_ignored(number: signal.Signals) -> bool:
    """Whether whoever started this process wants a signal to change nothing, as nohup does."""
    return signal.getsignal(number) is signal.SIG_IGN
