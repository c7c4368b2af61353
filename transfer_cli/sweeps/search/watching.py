"""What hangs on the run of a trial: it is told each epoch's score, and ends the run where others do better."""

from __future__ import annotations

from typing import TYPE_CHECKING

from transfer_cli.errors import Pruned
from transfer_cli.records.events import EpochEnd, Recorder

if TYPE_CHECKING:
    import optuna


class TrialWatcher(Recorder):
    """Reports the validation score of each epoch to a trial. Raises Pruned where its pruner says so."""

    def __init__(self, trial: optuna.Trial, metric: str) -> None:
        self._trial, self._metric = trial, metric

    def epoch_ends(self, end: EpochEnd) -> None:
        """An epoch is over; of a run that was killed in the middle, maybe one that was reported before."""
        value = end.splits.get("val", {}).get(self._metric)
        if value is None or end.epoch == 0 or end.candidate:
            return
        known = self._trial.study.get_trials(deepcopy=False)[self._trial.number].intermediate_values
        if end.epoch not in known:
            self._trial.report(value, end.epoch)
        if self._trial.should_prune():
            raise Pruned(f"after epoch {end.epoch}, as other trials were further by then")
