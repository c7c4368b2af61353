"""Heads trained by an optimizer: all rates, decays and seeds of a grid in one pass over the features."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Any, NamedTuple

import torch
from torch import Tensor

from transfer_cli.config.auto import chosen
from transfer_cli.config.extract import Extract
from transfer_cli.config.optimizers import AdamFamily, Sgd
from transfer_cli.config.schema import Experiment
from transfer_cli.engine.best import Best
from transfer_cli.engine.schedule import rate_multiplier
from transfer_cli.errors import RunError
from transfer_cli.methods.probes.linear_heads import ManyHeads
from transfer_cli.methods.probes.linear_layer import LinearLayer, Standardiser
from transfer_cli.methods.probes.row_optimizers import ROW_OPTIMIZERS, RowOptimizer
from transfer_cli.methods.probes.sharded_heads import ShardedHeads
from transfer_cli.methods.scores import WORST, Rank, Scores
from transfer_cli.models.heads import HeadSpec
from transfer_cli.records.events import EpochEnd, Step
from transfer_cli.strategies.extract import Fitted, Fitting

# Multiplications in one product from which several threads gain more than they cost.
SHARED_PRODUCTS = 2**26


@dataclass
class Candidate:
    """One head of a grid, and its best epoch so far."""

    lr: float
    weight_decay: float
    seed: int
    best_epoch: int = 0
    rank: Rank = WORST
    accuracy: float | None = None
    loss: float | None = None

    def values(self) -> dict[str, float]:
        """What tells it from the others."""
        return {"lr": self.lr, "weight_decay": self.weight_decay, "seed": self.seed}

    def offer(self, epoch: int, rank: Rank, accuracy: float, loss: float) -> None:
        """Note an epoch if it is its best."""
        if rank > self.rank:
            self.best_epoch, self.rank, self.accuracy, self.loss = epoch, rank, accuracy, loss


def candidates(e: Experiment, config: Extract) -> list[Candidate]:
    """Every combination of the grid; the run's own values where it names none."""
    grid = config.grid
    rates, decays = grid.lr or (chosen(e.optimizer.lr),), grid.weight_decay or (e.optimizer.weight_decay,)
    return [Candidate(*values) for values in product(rates, decays, grid.seed or (e.seed,))]


def by_optimizer(f: Fitting) -> Fitted:
    """All heads of the grid together, epoch by epoch; the best on validation is kept (DINOv2, Oquab 2023)."""
    with heads_of(f, candidates(f.experiment, f.config)) as training:
        course = _Course(training)
        for epoch in range(chosen(f.experiment.trainer.epochs)):
            course.run_epoch(epoch)
        return course.fitted()


@contextmanager
def heads_of(f: Fitting, grid: list[Candidate]) -> Iterator[Training]:
    """The heads of a grid, and what trains them."""
    train, _ = f.table("train")
    with _one_thread_an_operation(f, train.shape[1]) as threads, _heads(f, grid, train, threads) as heads:
        yield Training(f, heads, grid, f.scaler(train))


def are_small(f: Fitting, width: int) -> bool:
    """Whether operations on heads run in one thread each: to meet another takes longer than a small product."""
    largest = max(f.features.classes, f.config.hidden if f.config.head == "mlp" else 0)
    return chosen(f.experiment.trainer.batch_size) * largest * width < SHARED_PRODUCTS


@contextmanager
def _one_thread_an_operation(f: Fitting, width: int) -> Iterator[int]:
    """Within, operations on small heads run in one thread each; gives the number of threads to share heads out to."""
    threads = torch.get_num_threads()
    if not are_small(f, width):
        yield 1
        return
    torch.set_num_threads(1)
    try:
        yield threads
    finally:
        torch.set_num_threads(threads)


def _heads(f: Fitting, grid: list[Candidate], train: Tensor, threads: int) -> ShardedHeads:
    """The heads of a grid before training, shared out over threads on a CPU."""
    shards = min(threads, len(grid)) if train.device.type == "cpu" else 1
    size = -(-len(grid) // shards)
    parts = [grid[first : first + size] for first in range(0, len(grid), size)]
    return ShardedHeads([_some_heads(f, part, train) for part in parts])


def _some_heads(f: Fitting, grid: list[Candidate], train: Tensor) -> ManyHeads:
    return ManyHeads(
        train.shape[1],
        f.features.classes,
        [one.lr for one in grid],
        [one.weight_decay for one in grid],
        [one.seed for one in grid],
        optimizer=_rule(f.experiment),
        label_smoothing=f.config.label_smoothing,
        hidden=f.config.hidden if f.config.head == "mlp" else None,
        device=train.device,
    )


class Pass(NamedTuple):
    """What an epoch of training gave: mean loss and accuracy of each head, images, and images a second."""

    losses: list[float]
    accuracies: list[float]
    images: int
    speed: float


@dataclass(frozen=True)
class Training:
    """Heads of a grid that train together, on features that are standardised."""

    f: Fitting
    heads: ShardedHeads
    grid: list[Candidate]
    scaler: Standardiser

    def run_epoch(self, epoch: int) -> Pass:
        """Train on every batch."""
        f, heads = self.f, self.heads
        losses = torch.zeros(len(self.grid), dtype=torch.float64, device=self.scaler.mean.device)
        correct, seen, started = torch.zeros_like(losses), 0, time.perf_counter()
        for rows, labels in f.features.epoch(epoch):
            f.check_stop()
            step = heads.step(self.scaler.apply(rows), labels, self._multiplier(heads.steps))
            losses += step.losses * len(labels)
            correct += step.correct
            seen += len(labels)
            f.recorders.step(Step(len(labels)))
        speed = seen / max(time.perf_counter() - started, 1e-9)
        return Pass((losses / seen).tolist(), (correct / seen).tolist(), seen, speed)

    def validation(self) -> tuple[Tensor, Tensor]:
        """Standardised features [N, D] and labels [N] of validation."""
        rows, labels = self.f.table("val")
        return (self.scaler.apply(rows) if len(labels) else rows), labels

    def epoch_end(self, epoch: int, number: int, done: Pass, val: Scores | None, *, is_best: bool) -> EpochEnd:
        """What is recorded of a head at the end of an epoch."""
        splits = {"train": {"loss": done.losses[number], "accuracy": done.accuracies[number]}}
        return EpochEnd(
            epoch=epoch,
            step=self.heads.steps,
            splits=splits if val is None else {**splits, "val": val},
            learning_rate=self.grid[number].lr * self._multiplier(self.heads.steps - 1),
            images_per_second=done.speed,
            is_best=is_best and val is not None,
        )

    def diverged(self, epoch: int, lr: float) -> RunError:
        """What to say where no loss is finite, and `lr` is the lowest rate."""
        return RunError(
            f"no head's loss is finite in epoch {epoch}: lower the learning rate ({lr:g} or more here), or set "
            "strategy.standardize=true."
        )

    def fitted(self, best: Best[list[LinearLayer]], images: int, trials: list[dict[str, Any]]) -> Fitted:
        """A head that was kept, with the standardisation folded into its first layer."""
        assert best.kept is not None
        first, *rest = best.kept
        layers = [self.scaler.fold(first), *rest]
        hidden = len(first.bias) if rest else 0
        names = ["0.", "2."] if rest else [""]
        return Fitted(
            spec=HeadSpec(kind="mlp" if rest else "probe", width=first.weight.shape[1], hidden=hidden),
            tensors={
                f"{name}{part}": tensor.cpu()
                for name, layer in zip(names, layers, strict=True)
                for part, tensor in layer._asdict().items()
            },
            best_epoch=best.epoch,
            val=best.val,
            steps=self.heads.steps,
            images=images,
            trials=trials,
        )

    def _multiplier(self, step: int) -> float:
        e = self.f.experiment
        return rate_multiplier(e.scheduler, step, chosen(e.trainer.epochs) * self.f.features.steps_per_epoch)


@dataclass
class _Course:
    """A fit by epochs, and the layers and the number of the best head so far."""

    training: Training
    images: int = 0
    best: Best[list[LinearLayer]] = field(default_factory=Best)
    leader: int = 0

    def run_epoch(self, epoch: int) -> None:
        """Train on every batch, validate all heads, keep the best."""
        done = self.training.run_epoch(epoch)
        self.images += done.images
        self._finish_epoch(epoch + 1, done)

    def _finish_epoch(self, epoch: int, done: Pass) -> None:
        training, grid, f = self.training, self.training.grid, self.training.f
        if not any(map(math.isfinite, done.losses)):
            raise training.diverged(epoch, min(one.lr for one in grid))
        leader, val = self._validate(epoch)
        is_best = self.best.offer(epoch, val, f.task, lambda: training.heads.head(leader))
        if is_best:
            self.leader = leader
        end = training.epoch_end(epoch, leader, done, val, is_best=is_best)
        f.recorders.epoch_ends(replace(end, candidate=grid[leader].values()) if len(grid) > 1 else end)

    def _validate(self, epoch: int) -> tuple[int, Scores | None]:
        """The head that leads in this epoch and its scores; without validation samples the first head."""
        grid = self.training.grid
        rows, labels = self.training.validation()
        if len(labels) == 0:
            grid[0].best_epoch = epoch
            return 0, None
        measured = self.training.heads.scores(rows, labels)
        ranks = []
        triples = zip(grid, measured.accuracies.tolist(), measured.losses.tolist(), strict=True)
        for number, (one, accuracy, loss) in enumerate(triples):
            ranks.append(self._rank(number, accuracy, loss, rows, labels))
            one.offer(epoch, ranks[-1], accuracy, loss)
        leader = max(range(len(ranks)), key=ranks.__getitem__)
        return leader, self._scores(leader, rows, labels)

    def _rank(self, number: int, accuracy: float, loss: float, rows: Tensor, labels: Tensor) -> Rank:
        """Where a head stands; only metrics that all heads together do not give need its own scores."""
        task = self.training.f.task
        if not math.isfinite(loss):
            return WORST
        if task.metric in ("accuracy", "loss"):
            return task.rank({"accuracy": accuracy, "loss": loss})
        return task.rank(self._scores(number, rows, labels))

    def _scores(self, number: int, rows: Tensor, labels: Tensor) -> Scores:
        logits = self.training.heads.logits_of(number, rows)
        return self.training.f.task.scores(logits.cpu().numpy(), labels.cpu().numpy())

    def fitted(self) -> Fitted:
        """The best head of all."""
        grid = self.training.grid
        ranked = sorted(grid, key=lambda one: one.rank, reverse=True)
        trials = [_trial(one, chosen=one is grid[self.leader]) for one in ranked] if len(ranked) > 1 else []
        return self.training.fitted(self.best, self.images, trials)


def _trial(one: Candidate, *, chosen: bool) -> dict[str, Any]:
    scores = {"best_epoch": one.best_epoch, "val_accuracy": one.accuracy, "val_loss": one.loss}
    return {**one.values(), **scores, "chosen": chosen}


def _rule(e: Experiment) -> RowOptimizer:
    optimizer = e.optimizer
    if isinstance(optimizer, Sgd):
        return ROW_OPTIMIZERS["sgd"](optimizer.momentum, optimizer.nesterov)
    assert isinstance(optimizer, AdamFamily)
    return ROW_OPTIMIZERS["adamw"](optimizer.betas, optimizer.eps)
