"""The signals that ask for an end, as far as this system has them."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

_OF_SCHEDULERS = ("SIGTERM", "SIGUSR1", "SIGUSR2", "SIGHUP")

PREEMPTING = tuple(signal.Signals[name] for name in _OF_SCHEDULERS if name in signal.Signals.__members__)
"""What schedulers and closed terminals send: the state is saved, and the run can go on."""
ENDING = (signal.SIGINT, *PREEMPTING)
"""These, and Ctrl-C."""
READERS = "images"
"""What the names of threads that read images begin with; they end with what they are asked for."""
_heard: list[int] = []


@contextmanager
def handled(numbers: Iterable[signal.Signals], handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Within, `handler` gets these signals, but for those that are ignored.

    Handlers belong to the main thread; elsewhere (a test, a notebook) there is nothing to install.
    """

    def noted(number: int, frame: FrameType | None) -> None:
        _heard.append(number)
        handler(number, frame)

    before = {}
    if threading.current_thread() is threading.main_thread():
        for number in numbers:
            if not is_ignored(number):
                before[number] = signal.signal(number, noted)
    try:
        yield
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)


def latest() -> int | None:
    """The last signal that `handled` has handed on in this process."""
    return _heard[-1] if _heard else None


def heard() -> int:
    """How many signals `handled` has handed on in this process."""
    return len(_heard)


def ignore() -> None:
    """This process has done what it can: a signal would only make it say so of something else."""
    for number in ENDING:
        signal.signal(number, signal.SIG_IGN)


def leave(code: int) -> NoReturn:
    """All is done and said: a signal while Python takes itself down would only change the exit code.

    A thread that still reads waits for a disk that is gone, and Python would wait for it.
    """
    ignore()
    if any(thread.name.startswith(READERS) for thread in threading.enumerate()):
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
        os._exit(code)
    sys.exit(code)


def is_ignored(number: signal.Signals) -> bool:
    """Whether whoever started this process wants a signal to change nothing, as nohup does."""
    return signal.getsignal(number) is signal.SIG_IGN
