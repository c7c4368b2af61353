"""Heads of several jobs of a sweep that differ in rate and decay alone: the first job's pass trains them all.

Each job gets what it would have got alone, bit for bit, and records it as its own. Where the bits of a head depend on
what is trained beside it, each is trained alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace

from transfer_cli.config.auto import chosen
from transfer_cli.config.extract import Extract
from transfer_cli.config.parse import config_hash
from transfer_cli.config.schema import Experiment
from transfer_cli.engine.best import Best
from transfer_cli.errors import RunError
from transfer_cli.methods.probes.linear_layer import LinearLayer
from transfer_cli.records.events import EpochEnd, Step
from transfer_cli.strategies import grid
from transfer_cli.strategies.extract import Fitted, Fitting
from transfer_cli.strategies.grid import Candidate, Pass, Training

MOST_BYTES = 2**29
"""Of the weights of all heads that train together; optimizers keep two or three times as much besides."""
_ALIGNED = 16
"""Widths that are multiples of it make products whose bits do not depend on what is computed beside."""

Head = tuple[float, float]
"""A rate and a decay."""


@dataclass
class Course:
    """The fit of one head as it went: what was recorded of each epoch, and how it ended."""

    ends: list[EpochEnd] = field(default_factory=list)
    images: list[int] = field(default_factory=list)
    """Of each epoch."""
    best: Best[list[LinearLayer]] = field(default_factory=Best)
    ended: Fitted | RunError | None = None


@dataclass
class SharedFits:
    """What jobs of one sweep have fitted for each other, and the heads that are still to come."""

    _to_come: dict[str, dict[Head, None]] = field(default_factory=dict)
    _courses: dict[tuple[str, Head], Course] = field(default_factory=dict)

    @classmethod
    def of(cls, experiments: Iterable[Experiment]) -> SharedFits:
        """For these jobs."""
        shared = cls()
        for e in experiments:
            if _has_one_head(e):
                shared._to_come.setdefault(_but_for_the_head(e), {})[_head(e)] = None
        return shared

    @contextmanager
    def during(self, e: Experiment) -> Iterator[None]:
        """Within, the job with this configuration may take and give."""
        token = _NOW.set((self, e) if _has_one_head(e) else None)
        try:
            yield
        finally:
            _NOW.reset(token)

    def course(self, f: Fitting, e: Experiment, identity: str) -> Course:
        """The course of a job's own head: found, or made now with those of the jobs to come. `e`: as it was said."""
        # As it was resolved, on the features that it has now: a job that differs in these is no companion after all.
        kind = f"{_but_for_the_head(f.experiment)} {identity}"
        own = _head(f.experiment)
        if (kind, own) not in self._courses:
            to_come = self._to_come.get(_but_for_the_head(e), {})
            heads = [*({own: None} | to_come)][: _most(f)]
            for head in heads:
                to_come.pop(head, None)
            if len(heads) > 1:
                f.reporter.say(f"heads     {len(heads)} that differ in rate and decay alone train together")
            self._courses |= {(kind, head): course for head, course in zip(heads, _fit(f, heads), strict=True)}
        return self._courses.pop((kind, own))


_NOW: ContextVar[tuple[SharedFits, Experiment] | None] = ContextVar("shared fits", default=None)


def by_optimizer(f: Fitting) -> Fitted:
    """As `grid.by_optimizer`, from what another job of the sweep has fitted where it has."""
    now, identity = _NOW.get(), f.features.identity()
    if now is None or identity is None or not _has_one_head(f.experiment) or not _are_apart(f):
        return grid.by_optimizer(f)
    shared, said = now
    course = shared.course(f, said, identity)
    for end, images in zip(course.ends, course.images, strict=True):
        f.recorders.step(Step(images))
        f.recorders.epoch_ends(end)
    if isinstance(course.ended, RunError):
        raise course.ended
    assert course.ended is not None
    return course.ended


def _fit(f: Fitting, heads: list[Head]) -> list[Course]:
    """Train heads together, each with a course of its own."""
    # Steps are told when they are recorded.
    quiet = replace(f, recorders=type(f.recorders)([]))
    courses = [Course() for _ in heads]
    with grid.heads_of(quiet, [Candidate(*head, f.experiment.seed) for head in heads]) as training:
        for epoch in range(1, chosen(f.experiment.trainer.epochs) + 1):
            _finish_epoch(training, epoch, training.run_epoch(epoch - 1), courses)
        for course in courses:
            if course.ended is None:
                course.ended = training.fitted(course.best, sum(course.images), [])
    return courses


def _finish_epoch(training: Training, epoch: int, done: Pass, courses: list[Course]) -> None:
    """Validate each head, and keep those that have their best epoch."""
    task, heads = training.f.task, training.heads
    rows, labels = training.validation()
    truth = labels.cpu().numpy()
    logits = heads.logits_of_each(rows) if len(labels) else iter([None] * heads.count)
    for number, (course, own) in enumerate(zip(courses, logits, strict=True)):
        if course.ended is not None:
            continue
        if not math.isfinite(done.losses[number]):
            course.ended = training.diverged(epoch, training.grid[number].lr)
            continue
        val = None if own is None else task.scores(own.cpu().numpy(), truth)
        is_best = course.best.offer(epoch, val, task, lambda number=number: heads.head(number))  # type: ignore[misc]
        course.ends.append(training.epoch_end(epoch, number, done, val, is_best=is_best))
        course.images.append(done.images)


def _are_apart(f: Fitting) -> bool:
    """Whether a head is the same, bit for bit, whatever trains beside it."""
    train, _ = f.table("train")
    widths = [train.shape[1], *([f.config.hidden] if f.config.head == "mlp" else [])]
    aligned = all(width % _ALIGNED == 0 for width in widths)
    return train.device.type == "cpu" and aligned and grid.are_small(f, train.shape[1])


def _most(f: Fitting) -> int:
    """How many heads may train together."""
    width, classes = f.features.width, f.features.classes
    weights = (width + classes) * f.config.hidden if f.config.head == "mlp" else width * classes
    return max(1, MOST_BYTES // (4 * weights))


def _has_one_head(e: Experiment) -> bool:
    config = e.strategy
    named = isinstance(config, Extract) and not (config.grid.lr or config.grid.weight_decay or config.grid.seed)
    return named and isinstance(e.optimizer.lr, float | int)


def _head(e: Experiment) -> Head:
    return chosen(e.optimizer.lr), e.optimizer.weight_decay


def _but_for_the_head(e: Experiment) -> str:
    return config_hash(replace(e, optimizer=replace(e.optimizer, lr=0.0, weight_decay=0.0)))
