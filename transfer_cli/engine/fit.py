"""Epochs: train, evaluate, record, save a state. Going on after a kill is only a cursor."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch

from transfer_cli.data.batches import Epochs
from transfer_cli.engine import states
from transfer_cli.engine.best import Best
from transfer_cli.engine.loop import Cursor, Totals, Trainer, train_epoch
from transfer_cli.engine.schedule import should_stop
from transfer_cli.engine.states import Owner, Part
from transfer_cli.engine.stop import Stop
from transfer_cli.engine.task import Task
from transfer_cli.errors import RunError
from transfer_cli.methods.scores import Scores
from transfer_cli.records.recorder import EpochEnd, Recorders, Step
from transfer_cli.records.terminal import Reporter


@dataclass
class Progress:
    """All of a fit that changes besides tensors."""

    task: Task
    totals: Totals
    cursor: Cursor = field(default_factory=Cursor)
    best: Best[str] = field(default_factory=Best)
    """Of it, the name of the state that holds its weights."""
    history: list[float] = field(default_factory=list)
    """How each epoch so far ranks on validation, the larger the better: for patience and a plateau schedule."""
    train_seconds: float = 0.0
    images: int = 0

    @property
    def images_per_second(self) -> float:
        """In training alone."""
        return self.images / max(self.train_seconds, 1e-9)

    def state(self) -> Part:
        """The device synchronises here."""
        sums = self.totals
        return Part(
            {
                "cursor": asdict(self.cursor),
                "best": self.best.to_dict(),
                "history": self.history,
                "train_seconds": self.train_seconds,
                "images": self.images,
                "totals": {
                    "loss": float(sums.loss),
                    "correct": int(sums.correct),
                    "labelled": int(sums.labelled),
                    "seen": sums.seen,
                    "parts": {name: float(value) for name, value in sums.parts.items()},
                },
            }
        )

    def restore(self, part: Part) -> None:
        """Stand where the state was saved."""
        values, sums = part.values, part.values["totals"]
        self.cursor, self.best = Cursor(**values["cursor"]), Best.from_dict(values["best"])
        self.history[:] = values["history"]
        self.train_seconds, self.images = values["train_seconds"], values["images"]
        totals = Totals.zeros(self.task, self.totals.loss.device)
        totals.loss += sums["loss"]
        totals.correct += sums["correct"]
        totals.labelled += sums["labelled"]
        totals.parts = {name: torch.zeros_like(totals.loss) + value for name, value in sums["parts"].items()}
        totals.seen = sums["seen"]
        self.totals = totals


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
    checkpoints: Path
    owners: Mapping[str, Owner]
    """All that a state holds, `progress` included."""
    config_hash: str
    recorders: Recorders
    reporter: Reporter
    stop: Stop

    def run(self) -> None:
        """Train all epochs that are left. Raises Stopped, with a state saved, where a signal came."""
        while self.progress.cursor.epoch < self.epochs and not self._is_stale():
            self._train()
            scores = self.evaluate()
            self._check_stop()
            self._finish_epoch(scores)

    def _is_stale(self) -> bool:
        if self.patience is None or not should_stop(self.progress.history, self.patience):
            return False
        metric = self.progress.task.metric
        self.reporter.say(f"stopping: validation {metric} has not improved for {self.patience} epochs")
        return True

    def _train(self) -> None:
        progress, cursor = self.progress, self.progress.cursor
        started, before = time.perf_counter(), progress.totals.seen
        batches = self.batches.epoch(cursor.epoch, cursor.step_in_epoch)
        if not self.stop:
            for images in train_epoch(self.trainer, batches, cursor, progress.totals):
                self.recorders.step(Step(images, progress.totals.means))
                if self.stop:
                    break
        progress.train_seconds += time.perf_counter() - started
        progress.images += progress.totals.seen - before
        self._check_stop()

    def _check_stop(self) -> None:
        if self.stop:
            self._save()
        step = self.progress.cursor.step
        self.stop.check(f"at step {step}, state saved; the same command with resume=auto goes on from there")

    def _finish_epoch(self, scores: Mapping[str, Scores]) -> None:
        progress, cursor, val = self.progress, self.progress.cursor, scores.get("val")
        loss, accuracy = progress.totals.means()
        learning_rate = self.trainer.rate(cursor.step - 1)
        cursor.epoch, cursor.step_in_epoch = cursor.epoch + 1, 0
        if val is not None:
            progress.history.append(progress.task.rank(val)[0])
        is_best = progress.best.offer(cursor.epoch, val, progress.task, lambda: states.next_name(self.checkpoints))
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
        self._save()

    def _save(self) -> None:
        """Write a state of this moment."""
        name, keep = states.next_name(self.checkpoints), self.progress.best.kept
        try:
            states.save_state(self.checkpoints, name, self.owners, config_hash=self.config_hash, keep=keep)
        except OSError as error:
            raise RunError(
                f"the state at step {self.progress.cursor.step} cannot be written to {self.checkpoints} "
                f"({error.strerror or error}). The last good state is kept; make room, then go on with resume=auto."
            ) from error
        states.prune(self.checkpoints)
