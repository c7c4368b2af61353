"""Heads of several jobs of a sweep that differ in rate and decay alone: the first job's pass trains them all.

Each job gets what it would have got alone, bit for bit, and records it as its own. Where the bits of a head depend on
what is trained beside it, each is trained alone.
"""

from __future__ import annotations

import math
import time
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
from transfer_cli.methods.probes.linear_heads import ALIGNED
from transfer_cli.methods.probes.linear_layer import LinearLayer
from transfer_cli.records.events import EpochEnd, Step
from transfer_cli.strategies import grid
from transfer_cli.strategies.extract import Fitted, Fitting
from transfer_cli.strategies.grid import Candidate, Pass, Training

MOST_BYTES = 2**26
"""Of the weights of heads that train together, and of those that wait for their jobs.

Optimizers keep two or three times as much besides. It also bounds what a signal in the middle loses, for a pass takes
as long as its weights are many.
"""

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

    @property
    def bytes(self) -> int:
        """Of the head that it found."""
        tensors = self.ended.tensors.values() if isinstance(self.ended, Fitted) else ()
        return sum(tensor.nbytes for tensor in tensors)

    def finish(self, training: Training, seconds: float | None) -> None:
        """All epochs are over, of which so long was for this head; the best one is kept once."""
        if self.ended is None:
            self.ended = replace(training.fitted(self.best, sum(self.images), []), seconds=seconds)
        self.best = Best()


@dataclass
class SharedFits:
    """What jobs of one sweep have fitted for each other, and the heads that are still to come."""

    _to_come: dict[str, dict[Head, None]] = field(default_factory=dict)
    _courses: dict[tuple[str, Head], dict[str, Course]] = field(default_factory=dict)
    """By what the job says and then by what it is fitted to."""

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
        """Within, the job with this configuration may take and give; it takes nothing afterwards, however it ended."""
        if not _has_one_head(e):
            yield
            return
        token = _NOW.set((self, e))
        try:
            yield
        finally:
            _NOW.reset(token)
            self._to_come.get(_but_for_the_head(e), {}).pop(_head(e), None)
            self._courses.pop((_but_for_the_head(e), _head(e)), None)

    def course(self, f: Fitting, e: Experiment, identity: str) -> Course:
        """The course of a job's own head: found, or made now with those of the jobs to come. `e`: as it was said."""
        # As it was resolved, on the features that it has now: a job that differs in these is no companion after all.
        kind = f"{_but_for_the_head(f.experiment)} {identity}"
        said, own = _but_for_the_head(e), _head(f.experiment)
        found = self._courses.get((said, own), {}).pop(kind, None)
        if found is not None:
            _record(f, found)
            return found
        to_come = self._to_come.get(said, {})
        heads = [*({own: None} | to_come)][: self._most(f)]
        for head in heads:
            to_come.pop(head, None)
        if len(heads) > 1:
            f.reporter.say(f"heads     {len(heads)} that differ in rate and decay alone train together")
        made, *others = _fit(f, heads)
        for head, course in zip(heads[1:], others, strict=True):
            self._courses.setdefault((said, head), {})[kind] = course
        return made

    def _most(self, f: Fitting) -> int:
        """How many heads may train together."""
        width, classes = f.features.width, f.features.classes
        weights = (width + classes) * f.config.hidden if f.config.head == "mlp" else width * classes
        waiting = sum(course.bytes for courses in self._courses.values() for course in courses.values())
        return max(1, (MOST_BYTES - waiting) // (4 * weights))


_NOW: ContextVar[tuple[SharedFits, Experiment] | None] = ContextVar("shared fits", default=None)


def by_optimizer(f: Fitting) -> Fitted:
    """As `grid.by_optimizer`, from what another job of the sweep has fitted where it has."""
    now = _NOW.get()
    identity = None if now is None else f.features.identity()
    if now is None or identity is None or not _has_one_head(f.experiment) or not _are_apart(f):
        return grid.by_optimizer(f)
    shared, said = now
    course = shared.course(f, said, identity)
    if isinstance(course.ended, RunError):
        raise course.ended
    assert course.ended is not None
    return course.ended


def _record(f: Fitting, course: Course) -> None:
    """Tell of epochs that another job's pass has trained."""
    for end, images in zip(course.ends, course.images, strict=True):
        f.recorders.step(Step(images))
        f.recorders.epoch_ends(end)


def _fit(f: Fitting, heads: list[Head]) -> list[Course]:
    """Train heads together, each with a course of its own; the first is the job's, which is recorded as it trains."""
    started, courses = time.perf_counter(), [Course() for _ in heads]
    own = courses[0]
    with grid.heads_of(f, [Candidate(*head, f.experiment.seed) for head in heads]) as training:
        for epoch in range(1, chosen(f.experiment.trainer.epochs) + 1):
            _finish_epoch(training, epoch, training.run_epoch(epoch - 1), courses)
            if own.ended is None:
                f.recorders.epoch_ends(own.ends[-1])
            elif all(course.ended is not None for course in courses):
                break
            else:
                training = _quiet(training)
        seconds = (time.perf_counter() - started) / len(heads) if len(heads) > 1 else None
        for course in courses:
            course.finish(training, seconds)
    return courses


def _quiet(training: Training) -> Training:
    """The same, whose steps nobody is told of."""
    return replace(training, f=replace(training.f, recorders=type(training.f.recorders)([])))


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
    """Whether a head is the same, bit for bit, whatever trains beside it, as `ManyHeads` promises."""
    rows, _ = next(f.features.split("train"))
    width = rows.shape[1]
    widths = [width, *([f.config.hidden] if f.config.head == "mlp" else [])]
    aligned = all(width % ALIGNED == 0 for width in widths)
    return rows.device.type == "cpu" and aligned and grid.are_small(f, width)


def _has_one_head(e: Experiment) -> bool:
    config = e.strategy
    named = isinstance(config, Extract) and not (config.grid.lr or config.grid.weight_decay or config.grid.seed)
    return named and isinstance(e.optimizer.lr, float | int)


def _head(e: Experiment) -> Head:
    return chosen(e.optimizer.lr), e.optimizer.weight_decay


def _but_for_the_head(e: Experiment) -> str:
    return config_hash(replace(e, optimizer=replace(e.optimizer, lr=0.0, weight_decay=0.0)))
