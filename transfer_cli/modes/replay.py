"""mode=replay: the step at which a run diverged, once more from its last state, with every module watched."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import nn

from transfer_cli.command.overrides import Overrides
from transfer_cli.config.continuation import state_hash
from transfer_cli.config.parse import config_hash
from transfer_cli.config.schema import Experiment
from transfer_cli.data.batches import Batch
from transfer_cli.data.same_images import check_listed
from transfer_cli.engine import state_files
from transfer_cli.engine.finite import Findings, gradients, not_finite, watched
from transfer_cli.engine.fit import Fit
from transfer_cli.engine.state_files import State
from transfer_cli.engine.steps.check import DivergenceError
from transfer_cli.engine.stop import Stop
from transfer_cli.engine.strategy import StepResult
from transfer_cli.errors import EXIT_OK, UserError
from transfer_cli.files import write_json
from transfer_cli.records.events import Recorder, Recorders, Step
from transfer_cli.records.terminal import Reporter
from transfer_cli.rundir import saved_experiment
from transfer_cli.runs.loop_job import LoopJob
from transfer_cli.runs.saved_model import warn_of_unread
from transfer_cli.runs.states import divergence
from transfer_cli.runs.train import prepare_of

REPORT = "replay.json"
MOST_SHOWN = 5


def run(experiment: Experiment, overrides: Overrides) -> int:
    """Train from the last state to the step that diverged, watch that one, and say what was not finite."""
    directory, reporter, stop = Path(experiment.runs[0]), Reporter(quiet=experiment.quiet), Stop()
    diverged, saved = divergence.read(directory), saved_experiment(directory)
    warn_of_unread(overrides, reporter, "dataset", "seed", "split", "trainer.precision")
    device = experiment.trainer.device if overrides.names("trainer.device") else saved.trainer.device
    e = _as_it_ran(saved, experiment, device)
    check_listed((directory, e))
    state = _last_state(directory, e)
    job = prepare_of(e)(e, reporter, stop, state)
    assert isinstance(job, LoopJob)
    with stop, tempfile.TemporaryDirectory(prefix="transfer-run-replay-") as scratch:
        _with_states(directory, Path(scratch))
        fit = job.started(Path(scratch), Recorders([]), reporter, stop)
        if diverged["step"] < fit.progress.cursor.step:
            raise UserError(f"run={directory}: its states are from after step {diverged['step']}, which is lost.")
        reporter.say(f"replay    from step {fit.progress.cursor.step} to step {diverged['step']}")
        step = _Step(job.network.module, diverged["step"])
        repeated = step.repeat(fit)
    report = {"step": diverged["step"], "diverged_again": repeated is not None, **step.report()}
    write_json(directory / REPORT, report)
    _show(report, diverged, reporter)
    reporter.result(directory / REPORT)
    return EXIT_OK


@dataclass
class _Step:
    """One step of a training, watched."""

    module: nn.Module
    number: int
    """From 0."""
    findings: Findings | None = None
    before: tuple[str, ...] = ()
    """Weights and statistics that were not finite when it began."""
    after: tuple[str, ...] = ()
    """Gradients that were not."""
    inputs: tuple[float, float] | None = None
    """The smallest and the largest value that the network took."""

    def repeat(self, fit: Fit) -> DivergenceError | None:
        """Train up to and with the step; the error that it ends in again."""
        cursor, forward = fit.progress.cursor, fit.trainer.forward.forward

        def looked_at(batch: Batch) -> StepResult:
            if cursor.step != self.number:
                return forward(batch)
            if self.inputs is None:
                self.before = tuple(not_finite(self.module.state_dict()))
            low, high = float(batch.inputs.min()), float(batch.inputs.max())
            self.inputs = (low, high) if self.inputs is None else (min(low, self.inputs[0]), max(high, self.inputs[1]))
            with self._watched():
                return forward(batch)

        fit.trainer.forward.forward = looked_at
        fit = replace(fit, recorders=Recorders([_Until(lambda: cursor.step > self.number)]))
        try:
            fit.run()
        except _StepIsDone:
            return None
        except DivergenceError as error:
            self.after = tuple(not_finite(gradients(self.module)))
            return error
        return None

    @contextmanager
    def _watched(self) -> Iterator[None]:
        """Only the first pass of the step is kept; micro-batches and second looks repeat it."""
        with watched(self.module) as findings:
            yield
        if self.findings is None or (findings.broken and not self.findings.broken):
            self.findings = findings

    def report(self) -> dict[str, Any]:
        """What was seen, as plain values."""
        found = self.findings or Findings()
        largest = sorted(found.largest.items(), key=lambda item: -item[1])[:MOST_SHOWN]
        return {
            "weights_not_finite": list(self.before),
            "inputs": None if self.inputs is None else list(self.inputs),
            "outputs_not_finite_first_in": found.broken,
            "largest_outputs": dict(largest),
            "gradients_not_finite": list(self.after),
        }


class _StepIsDone(Exception):  # noqa: N818 - no error
    """Nothing after the step is wanted."""


@dataclass
class _Until(Recorder):
    """Ends a training after the step that is looked at."""

    is_done: Callable[[], bool]

    def step(self, step: Step) -> None:
        """Raises _StepIsDone where it was that step."""
        if self.is_done():
            raise _StepIsDone


def _as_it_ran(saved: Experiment, asked: Experiment, device: str) -> Experiment:
    """The settings of the run, uncompiled, on the machine's own terms."""
    trainer = replace(saved.trainer, compile=False, workers=asked.trainer.workers, device=device)
    own = {"cache_dir": asked.cache_dir, "cache_size": asked.cache_size, "quiet": asked.quiet}
    return replace(saved, trainer=trainer, resume="never", **own)  # type: ignore[arg-type]


def _last_state(directory: Path, e: Experiment) -> State | None:
    """What the run would go on from; None: it diverged before it saved one, and begins again."""
    state, damaged = state_files.newest_valid(directory / state_files.FOLDER, {state_hash(e), config_hash(e)})
    if damaged:
        raise UserError(f"run={directory}: {damaged[0]}; the step cannot be repeated as it was.")
    return state


def _with_states(directory: Path, scratch: Path) -> None:
    """The run's states where the replay may add to them; nothing is changed in the run."""
    if (directory / state_files.FOLDER).is_dir():
        shutil.copytree(directory / state_files.FOLDER, scratch / state_files.FOLDER, copy_function=_link)


def _link(source: str, target: str) -> None:
    os.symlink(os.path.abspath(source), target)


def _show(report: dict[str, Any], diverged: dict[str, Any], reporter: Reporter) -> None:
    def few(names: list[str]) -> str:
        rest = f" and {len(names) - MOST_SHOWN} more" if len(names) > MOST_SHOWN else ""
        return ", ".join(names[:MOST_SHOWN]) + rest if names else "none"

    rows = [
        ["loss, gradient norm", f"{diverged['loss']}, {diverged['gradient_norm']}"],
        ["learning rate", f"{diverged['learning_rate']:.3g}"],
        ["images", few(diverged["images"])],
        ["weights and statistics not finite before", few(report["weights_not_finite"])],
        ["first modules with outputs that are not", few(report["outputs_not_finite_first_in"])],
        ["gradients that are not", few(report["gradients_not_finite"])],
        ["largest outputs", few([f"{name} {value:.3g}" for name, value in report["largest_outputs"].items()])],
    ]
    title = f"step {report['step']} of epoch {diverged['epoch']}"
    reporter.table(title, ["what", "found"], rows)
    ranks = diverged.get("ranks", 1)
    if ranks != 1:
        reporter.warn(
            f"the run trained on {ranks} ranks, and the step was repeated on one process, whose random numbers and "
            "BatchNorm batches are others"
        )
    if not report["diverged_again"]:
        reporter.warn("the step is finite this time: what made it diverge is not in the state, or not repeatable here")
