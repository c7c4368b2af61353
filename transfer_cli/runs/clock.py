"""Where the seconds of a run went."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Clock:
    """Seconds of this process by part; those of processes before it are known of training alone."""

    def __init__(self, *, went_on: bool) -> None:
        """`went_on`: processes before this one had a share in the training."""
        self._went_on = went_on
        self._seconds: dict[str, float] = {}

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Time what happens inside."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self._seconds[name] = self._seconds.get(name, 0.0) + time.perf_counter() - started

    def parts(self, training: float, others: float = 0.0) -> dict[str, float]:
        """Of each part that is known; `training`: of all processes, what else its loop did being evaluation.

        But for `others`, where that is not 0: training for other jobs.
        """
        loop, search = self._seconds.get("loop", 0.0), self._seconds.get("search")
        whole = not self._went_on and search is None
        if search is not None:
            # The winner's epochs in it are training, and count once.
            search = max(search - max(training - loop, 0.0), 0.0)
        return {
            "preparation": self._seconds.get("preparation", 0.0),
            **({} if search is None else {"search": search}),
            "training": training,
            **({"others": others} if others else {}),
            **({"evaluation": max(loop - training - others, 0.0)} if whole else {}),
            "test": self._seconds.get("test", 0.0),
        }
