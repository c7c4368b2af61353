"""Going on with a run: from which state, and what is done where one is lost."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from transfer_cli.config.auto import chosen
from transfer_cli.config.continuation import state_hash
from transfer_cli.config.parse import config_hash
from transfer_cli.config.schema import Experiment
from transfer_cli.engine import room, state_files
from transfer_cli.engine.best import Best
from transfer_cli.engine.fit import Fit
from transfer_cli.engine.progress import Progress
from transfer_cli.engine.schedule import rate_multiplier
from transfer_cli.engine.state_files import State
from transfer_cli.engine.task import Task
from transfer_cli.errors import UserError
from transfer_cli.records.terminal import Reporter
from transfer_cli.runs.states.parts import AVERAGE, NETWORK

SAME = "Use the same settings to go on with it, or another name."


def newest_state(e: Experiment, begun: Experiment, path: Path, reporter: Reporter, *, complete: bool) -> State | None:
    """The state to go on from; None where training starts again. Raises UserError where that is not wanted.

    States of earlier versions are known by the settings that the run had until now.
    """
    known = {state_hash(e), config_hash(begun)}
    state, warnings = state_files.newest_valid(path / state_files.FOLDER, known)
    if state is None and complete:
        damaged = f" ({'; '.join(warnings)})" if warnings else ""
        raise UserError(
            f"{path} is complete and has no state to train on from{damaged}. Start another run from its weights: "
            f"name=<another> model.weights={path}; trainer.keep=last leaves a state for next time."
        )
    if state is None and warnings and e.resume != "auto":
        raise UserError(f"resume={path}: no usable state. {'; '.join(warnings)}.")
    for warning in warnings:
        reporter.warn(warning)
    if state is None and warnings:
        reporter.warn(f"{path}: no usable state is left; training starts again at epoch 1")
    return state


def replace_lost_best(fit: Fit, state: State, task: Task, reporter: Reporter) -> None:
    """Where the best weights are gone, those of the state that the run goes on from take their place."""
    best, folder = fit.progress.best, fit.checkpoints.folder
    problem = _problem_of_best(folder / best.kept, state) if best.kept is not None else None
    if problem is None:
        return
    reporter.warn(
        f"{folder / str(best.kept)}: {problem}: the weights of the best epoch ({best.epoch}) are gone; those of "
        f"{state.path.name} take their place until an epoch is better"
    )
    fit.progress.best = Best()
    val = fit.evaluate().get("val")
    fit.progress.best.offer(fit.progress.cursor.epoch, val, task, lambda: state.path.name)


def _problem_of_best(best: Path, state: State) -> str | None:
    """Why the weights of the best epoch cannot be had, or could not stand where those of a state do; or None."""
    problem = state_files.damage(best)
    if problem is not None or best.name == state.path.name:
        return problem
    parts = {name: part.tensors for name, part in state.parts.items() if name in (NETWORK, AVERAGE) and part.tensors}
    fits = all(
        (best / f"{name}.safetensors").is_file() and state_files.has_shapes(best, name, own)
        for name, own in parts.items()
    )
    return None if fits else "its weights are of another network"


def micro_batch_of(fit: Fit, reporter: Reporter) -> int:
    """Images to take at a time: fewer than asked for where an earlier process of the run had no memory for more."""
    states, wanted = fit.checkpoints, fit.trainer.micro_batch
    found = states.world.of_first(lambda: room.recall(states.folder))
    if found is None or found >= wanted:
        return wanted
    reporter.say(f"memory    {found} images at a time, since the run had no room for {wanted}")
    return found


def rate_of(e: Experiment, step: int, total_steps: int, history: Sequence[float]) -> float:
    """The learning rate of a step of a training of so many."""
    return chosen(e.optimizer.lr) * rate_multiplier(e.scheduler, step, total_steps, history)


def say_new_rate(progress: Progress, e: Experiment, reporter: Reporter) -> None:
    """What training longer than an earlier process had planned does to the rate of the next step."""
    step, before, now = progress.cursor.step, progress.planned_before, progress.planned_steps
    if before is None or before == now:
        return
    then, rate = (rate_of(e, step, total, progress.history) for total in (before, now))
    if then != rate:
        reporter.say(
            f"changed   the {e.scheduler.name} schedule is that of {now:,} steps now, of {before:,} before: the next "
            f"step has the learning rate {rate:.3g}, not {then:.3g}"
        )
