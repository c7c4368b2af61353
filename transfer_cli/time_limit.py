"""The wall time that a command has, such as that of its batch job: before it is over the command is told to stop.

It is told as a scheduler would tell it, by a signal, so that all that looks after signals looks after this.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from transfer_cli.config.durations import seconds_of
from transfer_cli.errors import EXIT_PREEMPTED
from transfer_cli.records.outlet import write_error

BEGAN = time.monotonic()
"""When this process did; nothing large has been imported by then."""
_SHARE, _MOST_SECONDS = 0.05, 60.0
_timers: list[threading.Timer] = []
_over = threading.Event()


def margin(seconds: float) -> float:
    """Of a limit, what is left for saving: a twentieth, at most a minute."""
    return min(_SHARE * seconds, _MOST_SECONDS)


def start(text: str | None) -> None:
    """End this process by `text`, such as 3h50m, after its start; the first limit counts."""
    seconds = seconds_of(text or "")
    if seconds is None or _timers:
        return
    left = BEGAN + seconds - margin(seconds) - time.monotonic()
    if left > threading.TIMEOUT_MAX:
        return

    def stop() -> None:
        _over.set()
        write_error(f"trainer.time_limit={text} is nearly over: saving, to end with exit code {EXIT_PREEMPTED}")
        os.kill(os.getpid(), signal.SIGTERM)

    timer = threading.Timer(max(left, 0.0), stop)
    timer.daemon = True
    timer.start()
    _timers.append(timer)


def is_over() -> bool:
    """Whether this process was told to stop since its time is nearly over."""
    return _over.is_set()


@contextmanager
def ended() -> Iterator[None]:
    """A block in which a limit may start, and after which there is none."""
    try:
        yield
    finally:
        while _timers:
            _timers.pop().cancel()
        _over.clear()
