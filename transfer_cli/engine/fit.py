"""Epochs: train, validate, record, save a state. Going on after a kill is only a cursor."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from transfer_cli.data.batches import Epochs
from transfer_cli.engine import optimizers, states
from transfer_cli.engine.loop import Cursor, Totals, Trainer, train_epoch
from transfer_cli.engine.schedule import should_stop
from transfer_cli.errors import RunError, Stopped
from transfer_cli.records.metrics import MetricsLog
from transfer_cli.records.terminal import Reporter

Scores = dict[str, float]


@dataclass(frozen=True)
class Best:
    """The epoch to keep: highest validation accuracy, then lowest loss; without validation, the last."""

    epoch: int
    state: str
    val: Scores | None

    def beaten_by(self, val: Scores | None) -> bool:
        """Whether an epoch with scores `val` is better than this one."""
        if val is None or self.val is None:
            return True
        return (val["accuracy"], -val["loss"]) > (self.val["accuracy"], -self.val["loss"])


@dataclass
class Progress:
    """All of a fit that changes, and that a state must bring back besides tensors."""

    cursor: Cursor = field(default_factory=Cursor)
    best: Best | None = None
    train_seconds: float = 0.0
    images: int = 0


@dataclass
class Fit:
    """One training from its first to its last epoch."""

    trainer: Trainer
    batches: Epochs
    validate: Callable[[], dict[str, Scores]]
    """Scores by the name that the log gives them; `val` chooses the best epoch."""
    epochs: int
    patience: int | None
    """Epochs without a better validation accuracy after which training ends."""
    history: list[float]
    """Validation accuracy of each epoch so far: what patience and a plateau schedule look at."""
    checkpoints: Path
    log: MetricsLog
    reporter: Reporter
    stop_code: Callable[[], int | None]
    identity: dict[str, Any]
    beside: dict[str, nn.Module] = field(default_factory=dict)
    """Modules besides the network whose tensors belong to a state, by the name of their file in it."""
    progress: Progress = field(default_factory=Progress)
    resumed_totals: Totals | None = None

    def run(self) -> Best:
        """Train all epochs that are left; returns the best. Raises Stopped, with a state saved, where a signal came."""
        cursor = self.progress.cursor
        totals = self.resumed_totals or Totals.zeros(self.trainer.compute.device)
        with self.reporter.progress(self.epochs, self.batches.steps_per_epoch) as bar:
            while cursor.epoch < self.epochs and not self._is_stale():
                bar.start_epoch(cursor.epoch + 1, cursor.step_in_epoch)
                self._train(cursor, totals, bar)
                started = time.perf_counter()
                scores = self.validate()
                self._check_stop(totals)
                self._finish_epoch(cursor, totals, scores, time.perf_counter() - started)
                totals = Totals.zeros(self.trainer.compute.device)
        assert self.progress.best is not None
        return self.progress.best

    def _is_stale(self) -> bool:
        if self.patience is None or not should_stop(self.history, self.patience):
            return False
        self.reporter.say(f"stopping: validation accuracy has not improved for {self.patience} epochs")
        return True

    def _train(self, cursor: Cursor, totals: Totals, bar: Any) -> None:
        started, before = time.perf_counter(), totals.seen

        def show(images: int, sums: Totals) -> None:
            bar.step(images, *(sums.means() if bar.wants_update() else (None, None)))

        batches = self.batches.epoch(cursor.epoch, cursor.step_in_epoch)
        train_epoch(self.trainer, batches, cursor, totals, stop=lambda: self.stop_code() is not None, progress=show)
        self.progress.train_seconds += time.perf_counter() - started
        self.progress.images += totals.seen - before
        self._check_stop(totals)

    def _check_stop(self, totals: Totals) -> None:
        code = self.stop_code()
        if code is not None:
            self.save(totals)
            step = self.progress.cursor.step
            raise Stopped(code, f"at step {step}, state saved; the same command with resume=auto goes on from there")

    def _finish_epoch(self, cursor: Cursor, totals: Totals, scores: dict[str, Scores], val_seconds: float) -> None:
        loss, accuracy = totals.means()
        val = scores.get("val")
        cursor.epoch, cursor.step_in_epoch = cursor.epoch + 1, 0
        rate = self.trainer.rate(cursor.step - 1)
        self.log.write(
            step=cursor.step, epoch=cursor.epoch, split="train", loss=loss, accuracy=accuracy, learning_rate=rate
        )
        for split, values in scores.items():
            self.log.write(step=cursor.step, epoch=cursor.epoch, split=split, **values)
        if val is not None:
            self.history.append(val["accuracy"])
        self.log.flush()
        best = self.progress.best
        is_best = best is None or best.beaten_by(val)
        self.save(Totals.zeros(self.trainer.compute.device), best_val=val, is_best=is_best)
        speed = self.progress.images / max(self.progress.train_seconds, 1e-9)
        self.reporter.epoch_line(
            cursor.epoch,
            self.epochs,
            {"loss": loss, "accuracy": accuracy},
            val,
            images_per_second=speed,
            best=is_best and val is not None,
        )

    def save(self, totals: Totals, *, best_val: Scores | None = None, is_best: bool = False) -> None:
        """Write a state of this moment; with `is_best` it holds the weights to keep."""
        moments, scalars = optimizers.pack_state(self.trainer.optimizer)
        sequence = states.next_name(self.checkpoints)
        if is_best:
            self.progress.best = Best(self.progress.cursor.epoch, sequence, best_val)
        values = {
            **self.identity,
            "cursor": asdict(self.progress.cursor),
            "best": asdict(self.progress.best) if self.progress.best else None,
            "train_seconds": self.progress.train_seconds,
            "images": self.progress.images,
            "totals": {
                "loss": float(totals.loss),
                "correct": int(totals.correct),
                "labelled": int(totals.labelled),
                "seen": totals.seen,
            },
            "metrics_offset": self.log.offset(),
            "optimizer_scalars": scalars,
            "scaler": self.trainer.scaler.state_dict(),
            "micro_batch": self.trainer.micro_batch,
            "last_losses": self.trainer.last_losses,
            "history": self.history,
        }
        tensors = {
            "model": self.trainer.strategy.network.module.state_dict(),
            "optimizer": moments,
            "rng": _rng(self.trainer.compute.device),
            **{name: module.state_dict() for name, module in self.beside.items()},
        }
        if self.trainer.average is not None:
            tensors["average"] = self.trainer.average.tensors
        try:
            states.save_state(self.checkpoints, sequence, tensors, values)
        except OSError as error:
            raise RunError(
                f"the state at step {self.progress.cursor.step} cannot be written to {self.checkpoints} "
                f"({error.strerror or error}). The last good state is kept; make room, then go on with resume=auto."
            ) from error
        states.prune(self.checkpoints)

    def restore(self, state: states.State) -> None:
        """Continue exactly where `state` was saved."""
        values, trainer = state.values, self.trainer
        trainer.strategy.network.module.load_state_dict(state.tensors["model"])
        for name, module in self.beside.items():
            module.load_state_dict(state.tensors[name])
        optimizers.unpack_state(trainer.optimizer, state.tensors["optimizer"], values["optimizer_scalars"])
        trainer.scaler.load_state_dict(values["scaler"])
        trainer.micro_batch, trainer.last_losses = values["micro_batch"], values["last_losses"]
        self.history[:] = values["history"]
        if trainer.average is not None:
            trainer.average.load(state.tensors["average"])
        best = Best(**values["best"]) if values["best"] else None
        self.progress = Progress(Cursor(**values["cursor"]), best, values["train_seconds"], values["images"])
        sums = values["totals"]
        totals = Totals.zeros(trainer.compute.device)
        totals.loss += sums["loss"]
        totals.correct += sums["correct"]
        # States of earlier versions know of labelled images alone.
        totals.labelled += sums.get("labelled", sums["seen"])
        totals.seen = sums["seen"]
        self.resumed_totals = totals
        _set_rng(trainer.compute.device, state.tensors["rng"])


def _rng(device: torch.device) -> dict[str, torch.Tensor]:
    """Torch's generators: dropout and stochastic depth draw from them."""
    generators = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        generators["cuda"] = torch.cuda.get_rng_state(device)
    return generators


def _set_rng(device: torch.device, generators: dict[str, torch.Tensor]) -> None:
    torch.set_rng_state(generators["cpu"])
    if device.type == "cuda":
        torch.cuda.set_rng_state(generators["cuda"], device)
