"""The pictures that every run leaves: its curves, and how it did on the test split."""

from __future__ import annotations

from typing import Self

from transfer_cli.errors import counted
from transfer_cli.records import metrics, plots
from transfer_cli.records.events import Recorder, RecorderSetup, RunEnd
from transfer_cli.records.terminal import Reporter


class PlotsRecorder(Recorder):
    """Draws from the metrics log and the predictions once a training came to its end."""

    def __init__(self, reporter: Reporter) -> None:
        self._reporter = reporter

    @classmethod
    def of_run(cls, setup: RecorderSetup) -> Self:
        """With the run's reporter."""
        return cls(setup.reporter)

    def tested(self, end: RunEnd) -> None:
        """Write `plots/`. Raises OSError."""
        folder = end.directory / "plots"
        if end.predictions is not None:
            folder.mkdir(exist_ok=True)
            end.predictions.task.draw(folder, end.predictions.outputs, end.predictions.labels)
        log = end.directory / "metrics.jsonl"
        events, damaged = metrics.read(log) if log.is_file() else ([], 0)
        if damaged:
            self._reporter.warn(f"{log}: left out of the curves: {counted(damaged, 'damaged line')}")
        if events:
            folder.mkdir(exist_ok=True)
            plots.curves(events, end.summary["best_epoch"], folder / "curves.png")
