"""A run as its user watches it: a bar or lines while it trains, a line an epoch, a table at the end."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

from transfer_cli.config.auto import chosen
from transfer_cli.errors import counted
from transfer_cli.records.events import EpochEnd, Recorder, RecorderSetup, RunEnd, RunStart, Step
from transfer_cli.records.progress import Progress
from transfer_cli.records.terminal import Reporter
from transfer_cli.records.text import duration

_COLUMNS = {
    "accuracy": ("accuracy", "{:.2%}"),
    "top5_accuracy": ("top-5", "{:.2%}"),
    "macro_f1": ("macro F1", "{:.4f}"),
    "loss": ("loss", "{:.4f}"),
    "ece": ("ECE", "{:.4f}"),
}
"""The scores of the final table, beside the metric of the run: their heading and format."""


class TerminalRecorder(Recorder):
    """Shows a run through a Reporter, so on the terminal and in `run.log`."""

    def __init__(self, reporter: Reporter, home: Path | None = None) -> None:
        """`home`: the directory of the run, where it trains in another for now."""
        self._reporter, self._home = reporter, home
        self._open = ExitStack()
        self._progress: Progress | None = None
        self._epochs = 0

    @classmethod
    def of_run(cls, setup: RecorderSetup) -> Self:
        """Through the reporter of the run."""
        return cls(setup.reporter, setup.home)

    def run_starts(self, start: RunStart) -> None:
        """What will happen and how long it takes is said, and the bar appears."""
        self._epochs = start.epochs
        # A solver has one step, and a run whose last step is done has none left.
        if start.epochs * start.steps_per_epoch > 1 and start.epoch <= start.epochs:
            e = start.experiment
            title = f"{e.strategy.name} {e.model.name} on {e.dataset.name}"
            self._reporter.panel(title, plan_of(start, self._home or start.directory))
        self._progress = self._open.enter_context(self._reporter.progress(start.epochs, start.steps_per_epoch))
        self._progress.start_epoch(start.epoch, start.step_in_epoch)

    def step(self, step: Step) -> None:
        """The bar moves; loss and accuracy are fetched only when they are to be seen."""
        if self._progress is not None:
            due = step.means is not None and self._progress.wants_update()
            self._progress.step(step.images, *(step.means() if due and step.means else (None, None)))

    def epoch_ends(self, end: EpochEnd) -> None:
        """A line, and the bar begins anew."""
        train, val = end.splits.get("train"), end.splits.get("val")
        if train is not None:
            speed = end.images_per_second
            self._reporter.epoch_line(end.epoch, self._epochs, train, val, images_per_second=speed, best=end.is_best)
        if self._progress is not None and end.epoch > 0:
            self._progress.start_epoch(end.epoch + 1)

    def pauses(self) -> None:
        """The bar goes."""
        self._open.close()
        self._progress = None

    def run_ends(self, end: RunEnd) -> None:
        """The bar goes, and where the run is complete the table of its scores comes."""
        self.pauses()
        if end.completed:
            _show(end.summary, self._reporter)


def plan_of(start: RunStart, directory: Path) -> list[tuple[str, str]]:
    """What a training is about to do, for how long, and where: names, and what is said of each."""
    trainer = start.experiment.trainer
    left = "" if start.epoch == 1 else f", from epoch {start.epoch} on"
    steps = counted(start.steps_per_epoch, "step")
    plan = f"{counted(start.epochs, 'epoch')} of {steps} of {counted(trainer.step_images, 'image')}{left}"
    patience = chosen(trainer.patience)
    if patience is not None:
        metric = trainer.metric.replace("_", " ")
        plan += f"; it ends where validation {metric} has not improved for {counted(patience, 'epoch')}"
    if not start.saves_states:
        return [("plan", plan), ("results", str(directory))]
    time = "the first such training here: what is left shows once it trains"
    if start.images_per_second is not None:
        steps_left = (start.epochs - start.epoch + 1) * start.steps_per_epoch - start.step_in_epoch
        seconds = duration(steps_left * trainer.step_images / start.images_per_second)
        time = f"{'about' if patience is None else 'at most'} {seconds}, as fast as the last such training"
    where = f"{directory}; Ctrl-C saves where it stands, and resume=auto goes on from there"
    return [("plan", plan), ("time", time), ("results", where)]


def _show(summary: Mapping[str, Any], reporter: Reporter) -> None:
    metric = summary.get("metric", "accuracy")
    columns = _COLUMNS if metric in _COLUMNS else {**_COLUMNS, metric: (metric.replace("_", " "), "{:.4f}")}
    splits = [(split, values) for split in ("val", "test") if (values := summary.get(split)) is not None]
    if not splits:
        return
    rows = [
        [
            f"{split} (epoch {summary['best_epoch']})",
            *(form.format(values[name]).replace("%", " %") for name, (_, form) in columns.items()),
        ]
        for split, values in splits
    ]
    speed = f"{summary['images_per_second']:,.0f} images/s, {summary['train_seconds']:.1f} s of training"
    title = f"{summary['strategy']} {summary['model']} on {summary['dataset']}: {speed}"
    reporter.table(title, ["split", *(heading for heading, _ in columns.values())], rows)
