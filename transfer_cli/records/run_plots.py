"""The pictures that every run leaves: its curves, and how it did on the test split."""

from __future__ import annotations

from transfer_cli.records import metrics, plots
from transfer_cli.records.events import Recorder, RunEnd


class PlotsRecorder(Recorder):
    """Draws from the metrics log and the predictions once a run is complete."""

    def run_ends(self, end: RunEnd) -> None:
        """Write `plots/`. Raises OSError."""
        if not end.completed:
            return
        folder = end.directory / "plots"
        if end.predictions is not None:
            folder.mkdir(exist_ok=True)
            end.predictions.task.draw(folder, end.predictions.outputs, end.predictions.labels)
        log = end.directory / "metrics.jsonl"
        events = metrics.whole(log) if log.is_file() else []
        if events:
            folder.mkdir(exist_ok=True)
            plots.curves(events, end.summary["best_epoch"], folder / "curves.png")
