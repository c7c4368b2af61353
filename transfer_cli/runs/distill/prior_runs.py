"""Runs that come before a student's: its teacher's finetuning, and the generations that it descends from.

Each is a run of its own in outputs/runs, named by what determines it: the next student, or the next job of a sweep,
finds it complete, and after a kill it goes on.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from transfer_cli import rundir
from transfer_cli.config.auto import AUTO
from transfer_cli.config.distill import Distill, TeacherOptions
from transfer_cli.config.parse import config_hash
from transfer_cli.config.problems import combination_problems
from transfer_cli.config.schema import Experiment, Model
from transfer_cli.engine.stop import ends_if_asked
from transfer_cli.errors import UserError
from transfer_cli.records.terminal import Reporter
from transfer_cli.rundir import completed_summary


class Train(Protocol):
    """`runs.train.train`, which prepares students and so cannot be imported here."""

    def __call__(self, e: Experiment, path: Path, reporter: Reporter) -> dict[str, Any]:
        """Train in `path`, or go on there; returns the summary."""
        ...


def with_trained_teacher(train: Train, e: Experiment, reporter: Reporter) -> tuple[Distill, Path | None]:
    """The strategy with a teacher that is there, and the run that made it, if one did.

    What has to be trained first is trained now, or was before. Raises UserError for `strategy.teacher.run` without a
    complete run.
    """
    config = e.strategy
    assert isinstance(config, Distill)
    if not config.trains_first:
        return config, None
    named = config.teacher.run
    run = _made(train, e, config, reporter) if named is None or named == AUTO else _named(named)
    if config.generations > 1:
        return _taught_by_itself(config, run), run
    return replace(config, teacher=_of_run(config.teacher, run)), run


def with_teacher_choices(asked: Distill, run: Path | None) -> Distill:
    """The strategy as it was asked for, with nothing of the teacher left open."""
    teacher = asked.teacher
    if teacher.run == AUTO:
        teacher = replace(teacher, run=None if run is None else str(run))
    return replace(asked, teacher=teacher, use_teacher=asked.use_teacher is not False)


def _made(train: Train, e: Experiment, config: Distill, reporter: Reporter) -> Path:
    if config.generations > 1:
        return _trained(train, _previous_generation(e, config), "generation", reporter)
    return _trained(train, _finetuning(e, config), "teacher", reporter)


def _named(run: str) -> Path:
    """A run that was made earlier, by a command whose settings are gone on with or repeated."""
    if completed_summary(Path(run)) is None:
        raise UserError(
            f"strategy.teacher.run={run}: no complete run is there; strategy.teacher.run=auto trains the teacher anew."
        )
    return Path(run)


def _finetuning(e: Experiment, config: Distill) -> Experiment:
    """The teacher's own run: the student's data, augmentation, optimizer and length where nothing else is said."""
    teacher = config.teacher
    assert teacher.model is not None and isinstance(teacher.weights, str)
    trainer = e.trainer if teacher.epochs is None else replace(e.trainer, epochs=teacher.epochs, steps=None)
    return replace(
        e,
        strategy=config.adapt,
        dataset=replace(e.dataset, unlabelled=None),
        model=Model(teacher.model, teacher.source, teacher.weights),
        image_size=e.image_size if teacher.image_size == "auto" else teacher.image_size,
        trainer=trainer,
        optimizer=replace(e.optimizer, lr=teacher.lr or e.optimizer.lr),
    )


def _previous_generation(e: Experiment, config: Distill) -> Experiment:
    return replace(e, strategy=replace(config, generations=config.generations - 1))


def _taught_by_itself(config: Distill, run: Path) -> Distill:
    """By the generation before: pairs of stages are of one architecture then."""
    pairs = None if config.pairs is None else tuple((ours, ours) for ours, _ in config.pairs)
    return replace(config, teacher=_of_run(config.teacher, run), pairs=pairs)


def _of_run(teacher: TeacherOptions, run: Path) -> TeacherOptions:
    return replace(
        teacher,
        model=None,
        source="auto",
        weights=str(run),
        finetune=False,
        epochs=None,
        lr=None,
        run=None,
        image_size="auto",
    )


def _trained(train: Train, e: Experiment, role: str, reporter: Reporter) -> Path:
    """The directory of a complete run of `e`; another process that trains it is waited for."""
    from filelock import FileLock

    problems = combination_problems(replace(e, resume="never"))
    if problems:
        raise UserError("\n".join(f"strategy.adapt: {problem}" for problem in problems))
    name = f"{role}-{e.model.name}-{e.dataset.name}-{config_hash(e)[:8]}"
    name = "".join(c if c.isalnum() or c in "._-" else "-" for c in name)
    path = Path(e.output_dir) / rundir.RUNS / name
    rundir.check_writable(path.parent)
    reporter.say(f"{role:9} {e.model.name}: {e.strategy.name} on {e.dataset.name} in {path}")
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.parent / f".{name}.lock"):
        # On one device, whatever the student trains on.
        alone = replace(e, name=name, resume="auto", trainer=replace(e.trainer, sharding="none"))
        with ends_if_asked(f"after the {role}, which is complete; the same command goes on"):
            train(alone, path, reporter.of_job())
    return path
