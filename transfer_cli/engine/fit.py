"""Epochs: train, evaluate, record, save a state. A resumed fit goes on from its saved progress."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from transfer_cli.config.durations import Interval
from transfer_cli.data.batches import Epochs
from transfer_cli.engine import room
from transfer_cli.engine.cadence import Cadence
from transfer_cli.engine.checkpoints import Checkpoints
from transfer_cli.engine.loop import Trainer, train_epoch
from transfer_cli.engine.progress import Progress
from transfer_cli.engine.ranks.world import lost_ranks
from transfer_cli.engine.room import NoRoomError
from transfer_cli.engine.schedule import should_stop
from transfer_cli.engine.stop import Stop
from transfer_cli.engine.totals import Totals
from transfer_cli.engine.watch import CAUSES, STOP_AFTER, WARN_AFTER, Watch
from transfer_cli.errors import LostRankError, RunError, StalledError
from transfer_cli.methods.scores import Scores
from transfer_cli.records.events import EpochEnd, Recorders, Step
from transfer_cli.records.terminal import Reporter

_NO_ROOM = (
    "another process of this training had no memory for its share of a step. States saved so far are kept: the same "
    "command with resume=auto goes on with {smaller} images at a time."
)


@dataclass(frozen=True)
class Fit:
    """One training from its first to its last epoch."""

    trainer: Trainer
    batches: Epochs
    evaluate: Callable[[], Mapping[str, Scores]]
    """Scores at the end of an epoch, by the name that the log gives them; `val` chooses the best epoch."""
    epochs: int
    patience: int | None
    """Epochs without a better validation score after which training ends."""
    progress: Progress
    checkpoints: Checkpoints
    recorders: Recorders
    reporter: Reporter
    stop: Stop
    evaluate_every: int = 1
    """Epochs from one evaluation to the next; the last is always evaluated."""
    cadence: Cadence = field(default_factory=lambda: Cadence(Interval(epochs=1)))
    """When a state is saved, besides those of a new best epoch and of the last."""
    out_of_time: Callable[[], bool] | None = None
    """Whether to end now, with the best so far; None: never."""
    watch: Watch | None = None
    """Says where nothing is learnt; None: nobody looks."""

    def run(self, until: int | None = None) -> None:
        """Train the epochs that are left, or those before `until`; all states are there then.

        Raises Stopped, with a state saved, where a signal came.
        """
        try:
            self._run(until)
        except Exception:
            # What ends the training is told; of a state that could not be written meanwhile people hear as well.
            error = self.checkpoints.finish_alone()
            if error is not None:
                self.reporter.warn(self._not_written(self.cadence.saved_step, error))
            raise
        self._finish_writing()

    def _run(self, until: int | None) -> None:
        end = self.epochs if until is None else min(until, self.epochs)
        while self.progress.cursor.epoch < end:
            if self._is_stale():
                metric = self.progress.task.metric
                self.reporter.say(
                    f"stopping: validation {metric} has not improved for {self.patience} epochs (trainer.patience)"
                )
                return
            if self._is_hopeless():
                return
            self._train()
            late = self._is_late()
            if late and self._is_partial() and self._has_scored_all_before():
                self.reporter.say(f"stopping: time is up in epoch {self.progress.cursor.epoch + 1}")
                return
            if late or self._is_due(self.progress.cursor.epoch + 1):
                scores = self.evaluate()
                self._save_if_stopped()
                self._finish_epoch(scores, due=True, last=late or self.progress.cursor.epoch + 1 == end)
            else:
                self._finish_epoch({}, due=False, last=False)
            if late:
                self.reporter.say(f"stopping: time is up after epoch {self.progress.cursor.epoch}")
                return

    def _is_late(self) -> bool:
        return self.out_of_time is not None and self.out_of_time()

    def _is_partial(self) -> bool:
        """Whether the epoch was left before its last step."""
        return self.progress.cursor.step_in_epoch < self.batches.steps_per_epoch

    def _has_scored_all_before(self) -> bool:
        """Whether epochs have been evaluated, the one before this among them: little is lost with a part of this one.

        A head that was fitted before the first epoch is none.
        """
        return bool(self.progress.history) and self.progress.cursor.epoch % self.evaluate_every == 0

    def _is_due(self, epoch: int) -> bool:
        """Whether an epoch (from 1) is evaluated."""
        return epoch % self.evaluate_every == 0 or epoch == self.epochs

    def offer_start(self, val: Scores, margin: float | None) -> None:
        """Save the network as it is before the first step: a candidate for the best, logged as epoch 0.

        An epoch is kept in its place that is better by more than `margin`, which is what chance explains; None: any.
        It does not join the history: epochs that start elsewhere need time to come as far.
        """
        progress, name = self.progress, self.checkpoints.next_name()
        progress.best.offer(0, val, progress.task, lambda: name)
        progress.best.margin = margin
        self.recorders.epoch_ends(EpochEnd(epoch=0, step=0, splits={"val": val}, is_best=True))
        self._save(name)

    def _is_stale(self) -> bool:
        if self.patience is None:
            return False
        return should_stop(self.progress.history, math.ceil(self.patience / self.evaluate_every))

    def _is_hopeless(self) -> bool:
        """Whether to end because nothing is learnt. Raises RunError where there is nothing better to keep."""
        progress, cursor = self.progress, self.progress.cursor
        if not progress.guessing or 2 * cursor.epoch < self.epochs or cursor.step < STOP_AFTER:
            return False
        found = f"after {cursor.step} steps the network is no better than guessing"
        mixes = progress.best.margin is None
        if mixes or (progress.best.epoch == 0 and progress.best.kept is not None):
            self.reporter.warn(f"stopping: {found}. {CAUSES}.")
            return True
        raise RunError(f"{found}; training on would not help. {CAUSES}. States saved so far are kept.")

    def _look(self, accuracy: float, val: Scores | None) -> None:
        """Count an epoch that guessed, and warn once."""
        progress, watch = self.progress, self.watch
        if watch is None or progress.guessing is None:
            return
        val_accuracy = None if val is None else val.get("accuracy")
        if not watch.guesses(accuracy, val_accuracy):
            progress.guessing = None
            return
        steps = progress.cursor.step // max(progress.cursor.epoch, 1)
        before, progress.guessing = progress.guessing, progress.guessing + 1
        if before * steps < WARN_AFTER <= progress.guessing * steps:
            self.reporter.warn(
                f"after {progress.cursor.step} steps the network is no better than guessing "
                f"({100 * accuracy:.1f} % in training). {CAUSES}."
            )

    def _train(self) -> None:
        progress, cursor = self.progress, self.progress.cursor
        started, before = time.perf_counter(), progress.totals.seen
        batches = self.batches.epoch(cursor.epoch, cursor.step_in_epoch)
        if not self.stop:
            with self._stopped_between_steps():
                self._step_through(train_epoch(self.trainer, batches, cursor, progress.totals))
        # Where the epoch was left before its end, the last steps have not been heard of.
        self.trainer.settle()
        progress.train_seconds += time.perf_counter() - started
        progress.images += progress.totals.seen - before
        self._save_if_stopped()

    def _step_through(self, steps: Iterator[int]) -> None:
        """Train until the epoch ends, a signal asks for an end, or time is up."""
        for images in self._keeping_what_fits(steps):
            self.recorders.step(Step(images, self.progress.totals.means))
            self._look_at_first()
            if self.stop.agree(self.cadence.is_due_within(self.progress.cursor.step)) or self._is_late():
                break
            self.cadence.is_due = self.stop.due
            if self._is_partial() and self.cadence.is_due:
                self._save(self.checkpoints.next_name())

    @contextmanager
    def _stopped_between_steps(self) -> Iterator[None]:
        """Where a signal asks for an end and the next images do not come, training stands after the step before."""
        try:
            yield
        except StalledError:
            # Several ranks stop after the same step or not at all, and others may wait in the middle of this one.
            if not self.stop or self.checkpoints.world.size > 1:
                raise

    def _keeping_what_fits(self, steps: Iterator[int]) -> Iterator[int]:
        """The steps. Where a rank has no memory for its share of one, how much may fit is remembered, and all before.

        Raises NoRoomError on that rank, and LostRankError on the others, of which the first saves a state if it can.
        """
        folder, had = self.checkpoints.folder, self.trainer.micro_batch
        try:
            with lost_ranks():
                yield from steps
        except NoRoomError as error:
            room.remember(folder, error.smaller)
            self._save_before_failed_step()
            raise
        except LostRankError as error:
            smaller = room.recall(folder)
            if smaller is None or smaller >= had:
                raise
            self._save_before_failed_step()
            raise LostRankError(_NO_ROOM.format(smaller=smaller)) from error

    def _save_before_failed_step(self) -> None:
        if self.trainer.forward.sharded is not None:
            return  # No rank alone has all of a state.
        if self.checkpoints.world.is_first and self.trainer.forward.undo_step():
            self._save(self.checkpoints.next_name())
            self._finish_writing()

    def _look_at_first(self) -> None:
        past = self.trainer.past
        first, past.first = past.first, None
        warning = None if self.watch is None or first is None else self.watch.says_of_first(first)
        if warning is not None:
            self.reporter.warn(warning)

    def _save_if_stopped(self) -> None:
        if not self.stop:
            return
        self._save(self.checkpoints.next_name())
        self._finish_writing()
        step = self.progress.cursor.step
        self.stop.check(f"at step {step}, state saved; the same command with resume=auto goes on from there")

    def _finish_epoch(self, scores: Mapping[str, Scores], *, due: bool, last: bool) -> None:
        progress, cursor, val = self.progress, self.progress.cursor, scores.get("val")
        name = self.checkpoints.next_name()
        loss, accuracy = progress.totals.means()
        # Before this epoch joins the history, which a plateau schedule reads.
        learning_rate = self.trainer.rate(cursor.step - 1)
        cursor.epoch, cursor.step_in_epoch = cursor.epoch + 1, 0
        self._look(accuracy, val)
        if val is not None:
            progress.history.append(progress.task.rank(val)[0])
        is_best = due and progress.best.offer(cursor.epoch, val, progress.task, lambda: name)
        end = EpochEnd(
            epoch=cursor.epoch,
            step=cursor.step,
            splits={"train": {"loss": loss, "accuracy": accuracy}, **scores},
            learning_rate=learning_rate,
            loss_parts=progress.totals.part_means(),
            images_per_second=progress.images_per_second,
            is_best=is_best and val is not None,
        )
        progress.totals = Totals.zeros(progress.task, progress.totals.loss.device)
        self.recorders.epoch_ends(end)
        if is_best or (due and (last or self.cadence.is_due or self.cadence.is_due_after(cursor.epoch))):
            self._save(name)

    def _save(self, name: str) -> None:
        """Write a state of this moment, or begin to: `_finish_writing` waits until it is there."""
        self._finish_writing()
        self.trainer.settle()
        step = self.progress.cursor.step
        try:
            self.checkpoints.save(name, self.progress.best.kept)
        except OSError as error:
            raise RunError(self._not_written(step, error)) from error
        self.cadence.saved(step)

    def _finish_writing(self) -> None:
        """Raises RunError where the last state could not be written."""
        try:
            self.checkpoints.finish()
        except OSError as error:
            raise RunError(self._not_written(self.cadence.saved_step, error)) from error

    def _not_written(self, step: int | None, error: OSError) -> str:
        return (
            f"the state at step {step} cannot be written to {self.checkpoints.folder} "
            f"({error.strerror or error}). States saved so far are kept; make room, then go on with resume=auto."
        )
