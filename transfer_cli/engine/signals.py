"""Signals become a flag that the loop reads at step boundaries; a second Ctrl-C stops at once."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any

from transfer_cli.errors import EXIT_INTERRUPTED, EXIT_PREEMPTED


class StopRequest:
    """While entered, SIGTERM, SIGUSR1 and SIGINT set `code`: 75 for the first two, 130 for Ctrl-C."""

    def __init__(self) -> None:
        self.code: int | None = None
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> StopRequest:
        # Signal handlers belong to the main thread; elsewhere (a test, a notebook) there is nothing to install.
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT, getattr(signal, "SIGUSR1", signal.SIGTERM)):
                self._previous.setdefault(number, signal.signal(number, self._handle))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT:
            if self.code == EXIT_INTERRUPTED:
                raise KeyboardInterrupt
            self.code = EXIT_INTERRUPTED
        elif self.code is None:
            self.code = EXIT_PREEMPTED
