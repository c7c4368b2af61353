"""What hangs on every run, in the order in which it is told: a new logger is a line here."""

from __future__ import annotations

from pathlib import Path

from transfer_cli.engine.checkpoints import State
from transfer_cli.records.events import Recorders
from transfer_cli.records.metrics import MetricsRecorder
from transfer_cli.records.predictions import PredictionsRecorder
from transfer_cli.records.run_plots import PlotsRecorder
from transfer_cli.records.show import TerminalRecorder
from transfer_cli.records.summary import SummaryRecorder
from transfer_cli.records.terminal import Reporter
from transfer_cli.runs.state import saved_recorders


def recorders_of_run(directory: Path, reporter: Reporter, state: State | None) -> Recorders:
    """All recorders of a run, going on where `state` was saved. Raises OSError."""
    saved = saved_recorders(state)
    return Recorders(
        [
            MetricsRecorder(directory / "metrics.jsonl", **saved.get(MetricsRecorder.__name__, {})),
            PredictionsRecorder(),
            PlotsRecorder(),
            SummaryRecorder(),
            TerminalRecorder(reporter),
        ]
    )
