"""What hangs on every run, in the order in which it learns of it: a new logger is a line here."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from transfer_cli.engine.state_files import State
from transfer_cli.extras import named
from transfer_cli.records.events import Recorder, Recorders, RecorderSetup
from transfer_cli.records.terminal import Reporter
from transfer_cli.runs.states.parts import saved_recorders

RECORDERS = (
    "transfer_cli.records.metrics.MetricsRecorder",
    "transfer_cli.records.predictions.PredictionsRecorder",
    "transfer_cli.records.run_plots.PlotsRecorder",
    "transfer_cli.records.summary.SummaryRecorder",
    "transfer_cli.records.show.TerminalRecorder",
)


def recorders_of_run(
    directory: Path, reporter: Reporter, state: State | None, more: Sequence[Recorder] = (), home: Path | None = None
) -> Recorders:
    """All recorders of a run, going on where `state` was saved, and `more` after them. Raises OSError.

    `home`: its directory, where it trains in another for now.
    """
    saved = saved_recorders(state)
    kinds: list[type[Recorder]] = [named(path) for path in RECORDERS]
    own = [kind.of_run(RecorderSetup(directory, reporter, saved.get(kind.__name__, {}), home)) for kind in kinds]
    return Recorders([*own, *more])
