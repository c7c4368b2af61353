"""Loggers in threads of their own: a server that is slow or gone costs a run a warning, and seconds at its end."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, cast

from transfer_cli import plugins
from transfer_cli.config.dotted import dotted
from transfer_cli.config.loggers import LOGGERS
from transfer_cli.config.parse import to_dict
from transfer_cli.errors import first_line
from transfer_cli.extras import named
from transfer_cli.records import metrics
from transfer_cli.records.events import EpochEnd, Recorder, RunEnd, RunStart
from transfer_cli.records.loggers.logger import Logger, Run, numbers
from transfer_cli.records.terminal import Reporter

PATIENCE, PATIENCE_WITH_WHAT_WORKS, PATIENCE_WHEN_STOPPED = 2.0, 60.0, 10.0
"""Seconds that a run waits at its end, for all loggers together, for a server that has not answered yet, and for what
works; the last where a signal ends the run, whose process may be killed soon."""

Call = Callable[[Logger], Any]


class LoggersRecorder(Recorder):
    """Hands what happens to every logger of a run."""

    def __init__(self, names: Sequence[str], reporter: Reporter) -> None:
        self._threads = [_Thread(name, reporter) for name in names]
        self._run: Run | None = None

    def run_starts(self, start: RunStart) -> None:
        """Begin, or go on; what happened before in this run is told to who does not know it."""
        settings = dotted(to_dict(start.experiment))
        self._run = run = Run(
            start.directory, settings, (start.epoch - 1) * start.steps_per_epoch + start.step_in_epoch
        )
        log = start.directory / metrics.NAME
        past, _ = metrics.read(log) if log.is_file() else ([], 0)

        def begin(logger: Logger) -> None:
            if logger.begins(run):
                for event in past:
                    logger.scores(event.get("step") or 0, event.get("epoch") or 0, _of_event(event))

        for thread in self._threads:
            thread.do(begin)

    def epoch_ends(self, end: EpochEnd) -> None:
        """The scores of every split, the rate and the speed."""
        values = {name: value for split, scores in end.splits.items() for name, value in numbers(scores, split).items()}
        more = {"learning_rate": end.learning_rate, "images_per_second": end.images_per_second}
        values |= {name: float(value) for name, value in more.items() if value}
        for thread in self._threads:
            thread.do(lambda logger: logger.scores(end.step, end.epoch, values))

    def run_ends(self, end: RunEnd) -> None:
        """The result; waits for what is not done, but not for long."""
        run = self._run
        if run is not None:
            self._finish(run, end)
        stopped = end.summary["status"] not in ("completed", "failed")
        patience = PATIENCE_WHEN_STOPPED if stopped else PATIENCE_WITH_WHAT_WORKS
        since = time.monotonic()
        for thread in self._threads:
            thread.close(since, patience)

    def _finish(self, run: Run, end: RunEnd) -> None:
        status = str(end.summary["status"])
        summary = {**numbers(end.summary.get("val"), "best_val"), **numbers(end.summary.get("test"), "test")}
        for thread in self._threads:
            thread.do(lambda logger: logger.ends(run, status, summary))


_NO_SCORES = ("split", "step", "epoch", "learning_rate", "lr", "weight_decay", "seed")
"""What an event says besides scores; the last say which head of a grid it is of."""


def _of_event(event: metrics.Event) -> dict[str, float]:
    split = str(event["split"])
    scores = {name: value for name, value in event.items() if name not in _NO_SCORES}
    return {**numbers(scores, split), **{n: v for n, v in event.items() if n == "learning_rate" and v}}


def _made(name: str) -> Logger:
    """A new logger of a name that is ours or an installed package's."""
    kind = named(LOGGERS[name]) if name in LOGGERS else plugins.find("loggers", name)
    return cast(Logger, kind())


class _Thread:
    """Does what a logger is asked for, one thing after the other."""

    def __init__(self, name: str, reporter: Reporter) -> None:
        self._name, self._reporter = name, reporter
        self._calls: queue.SimpleQueue[Call | None] = queue.SimpleQueue()
        self._works, self._said = False, False
        self._problem: str | None = None
        self._thread = threading.Thread(target=self._work, name=f"logger {name}", daemon=True)
        self._thread.start()

    def do(self, call: Call) -> None:
        """Ask for something; what went wrong before is said now, by the run's own thread."""
        self._say()
        if self._problem is None:
            self._calls.put(call)

    def close(self, since: float, patience: float) -> None:
        """Wait for what was asked for, so many seconds from `since` on where the logger works, or give it up."""
        self._calls.put(None)
        until = since + (patience if self._works else PATIENCE)
        self._thread.join(max(until - time.monotonic(), 0.0))
        if self._thread.is_alive() and self._problem is None:
            self._problem = "it does not answer"
        self._say()

    def _say(self) -> None:
        if self._problem is not None and not self._said:
            self._said = True
            self._reporter.warn(f"logger={self._name}: {self._problem}; the run goes on without it")

    def _work(self) -> None:
        try:
            logger = _made(self._name)
            self._works = not logger.remote
            while (call := self._calls.get()) is not None:
                call(logger)
                self._works = True
        except BaseException as error:  # whatever a library raises, the run must not end of it
            self._problem = first_line(error)
