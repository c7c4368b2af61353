"""What hangs on a run: recorders that are told when it starts, of each step, when an epoch and the run end.

A logger, a plot, a pruner is a class of its own; `runs.recorders` lists those of a run. One that appends to a file uses
`files.AppendedLines` and gives its offset as `state`, so that a resumed run has each line once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from transfer_cli.config.schema import Experiment
from transfer_cli.records.terminal import Reporter

Scores = Mapping[str, float]


@dataclass(frozen=True)
class RunStart:
    """A training is about to take its first step, or its first after it was resumed."""

    experiment: Experiment
    directory: Path
    epochs: int
    steps_per_epoch: int
    epoch: int = 1
    """The epoch that comes first, from 1."""
    step_in_epoch: int = 0
    """Steps of this epoch that were done before, by a run that was stopped."""
    images_per_second: float | None = None
    """Of the last such training on this machine, evaluation and all; None: there was none."""
    saves_states: bool = True
    """Whether a run that is stopped goes on from where it was: a head on features is fitted again."""


@dataclass(frozen=True)
class Step:
    """An optimizer step is done."""

    images: int
    means: Callable[[], tuple[float, float]] | None = None
    """(loss, accuracy) of the epoch so far; to ask makes the device synchronise. None where nobody sums them."""


@dataclass(frozen=True)
class EpochEnd:
    """An epoch is over and its evaluations are done; epoch 0 is what there was before the first step."""

    epoch: int
    step: int
    """Optimizer steps so far."""
    splits: Mapping[str, Scores]
    """`train`: running means of the epoch; `val`: what chooses the best epoch; any other evaluation by its name."""
    learning_rate: float | None = None
    loss_parts: Mapping[str, float] = field(default_factory=dict)
    """Mean over the epoch of each named part of the training loss, with its weight: together they are the loss."""
    images_per_second: float = 0.0
    is_best: bool = False
    candidate: Mapping[str, float] = field(default_factory=dict)
    """Which of several heads that train at once the scores are of."""


@dataclass(frozen=True)
class Predictions:
    """Outputs for the test split, in its order, and who reads them."""

    ids: Sequence[str]
    outputs: NDArray[np.float32]
    """[N, width]"""
    labels: NDArray[np.int64]
    """[N, ...]"""
    task: PredictionWriter


class PredictionWriter(Protocol):
    """What recorders ask of a task."""

    def write_predictions(
        self, path: Path, ids: Sequence[str], outputs: NDArray[np.float32], labels: NDArray[np.int64]
    ) -> None:
        """A CSV, one row an image."""
        ...

    def draw(self, folder: Path, outputs: NDArray[np.float32], labels: NDArray[np.int64]) -> None:
        """Pictures of the predictions of a split."""
        ...


@dataclass(frozen=True)
class RunEnd:
    """The run is over. `summary` is what `summary.json` will hold; one that did not complete has little of it."""

    directory: Path
    summary: Mapping[str, Any]
    step: int = 0
    predictions: Predictions | None = None
    """Of the test split; None where it has no images or the run did not get that far."""

    @property
    def completed(self) -> bool:
        """Whether the run got to its end."""
        return str(self.summary["status"]) == "completed"


@dataclass(frozen=True)
class RecorderSetup:
    """What a recorder of a run may start from."""

    directory: Path
    reporter: Reporter
    saved: Mapping[str, Any]
    """What its `state` gave when the state was saved that this run resumes; empty for a new run."""
    home: Path | None = None
    """The directory of the run, where a candidate for its settings trains in one of its own."""


class Recorder:
    """Takes what happens in a run; a recorder says what it does of these, and the rest passes it by."""

    @classmethod
    def of_run(cls, setup: RecorderSetup) -> Self:
        """The recorder of a run."""
        return cls()

    def run_starts(self, start: RunStart) -> None:
        """Training begins."""

    def step(self, step: Step) -> None:
        """An optimizer step is done: keep this cheap, and do not ask the device for anything each time."""

    def epoch_ends(self, end: EpochEnd) -> None:
        """An epoch is over."""

    def pauses(self) -> None:
        """A part of the training is over; whether it goes on is decided now."""

    def tested(self, end: RunEnd) -> None:
        """All is known of a training that came to its end; its model is being written in another thread meanwhile."""

    def run_ends(self, end: RunEnd) -> None:
        """The run is over, completed or not; where it completed, all but its summary is written."""

    def state(self) -> dict[str, Any]:
        """What a resumed run must give back to this recorder: plain values, by its own keys."""
        return {}


class Recorders(Recorder):
    """All recorders of a run, told in order."""

    def __init__(self, recorders: Sequence[Recorder]) -> None:
        self._recorders = recorders

    def run_starts(self, start: RunStart) -> None:
        """Tell each."""
        for recorder in self._recorders:
            recorder.run_starts(start)

    def step(self, step: Step) -> None:
        """Tell each."""
        for recorder in self._recorders:
            recorder.step(step)

    def epoch_ends(self, end: EpochEnd) -> None:
        """Tell each."""
        for recorder in self._recorders:
            recorder.epoch_ends(end)

    @contextmanager
    def part(self) -> Iterator[None]:
        """Within, a part of a training that may not go on; each is told when it is over."""
        try:
            yield
        finally:
            for recorder in self._recorders:
                recorder.pauses()

    def tested(self, end: RunEnd) -> None:
        """Tell each."""
        for recorder in self._recorders:
            recorder.tested(end)

    def run_ends(self, end: RunEnd) -> None:
        """Tell each."""
        for recorder in self._recorders:
            recorder.run_ends(end)

    def state(self) -> dict[str, Any]:
        """Of those that have one, by the name of the class."""
        names = [type(recorder).__name__ for recorder in self._recorders]
        assert len(set(names)) == len(names), "two recorders of one class share a state"
        states = {name: recorder.state() for name, recorder in zip(names, self._recorders, strict=True)}
        return {name: state for name, state in states.items() if state}
