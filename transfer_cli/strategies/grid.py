"""Heads trained by an optimizer: all rates, decays and seeds of a grid in one pass over the features."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import product
from typing import Any

import torch
from torch import Tensor

from transfer_cli.config.extract import Extract
from transfer_cli.config.optimizers import AdamFamily, Sgd
from transfer_cli.config.schema import Experiment
from transfer_cli.engine.schedule import rate_multiplier
from transfer_cli.errors import RunError
from transfer_cli.methods.probes.linear_heads import ManyHeads
from transfer_cli.methods.probes.linear_layer import LinearLayer, Standardiser
from transfer_cli.methods.probes.row_optimizers import ROW_OPTIMIZERS, RowOptimizer
from transfer_cli.methods.probes.sharded_heads import ShardedHeads
from transfer_cli.models.heads import HeadSpec
from transfer_cli.records.scores import scores
from transfer_cli.strategies.extract import Fitted, Fitting, Scores

Rank = tuple[float, float]
"""Accuracy and negated loss on validation: the larger the better."""
# Multiplications in one product from which several threads gain more than they cost.
SHARED_PRODUCTS = 2**26
WORST: Rank = (-1.0, -math.inf)


@dataclass
class Candidate:
    """One head of a grid, and the best that it has come by."""

    lr: float
    weight_decay: float
    seed: int
    best_epoch: int = 0
    rank: Rank = WORST

    def values(self) -> dict[str, float]:
        """What tells it from the others."""
        return {"lr": self.lr, "weight_decay": self.weight_decay, "seed": self.seed}


def candidates(e: Experiment, config: Extract) -> list[Candidate]:
    """Every combination of the grid; the run's own values where it names none."""
    grid = config.grid
    rates, decays = grid.lr or (e.optimizer.lr,), grid.weight_decay or (e.optimizer.weight_decay,)
    return [Candidate(*values) for values in product(rates, decays, grid.seed or (e.seed,))]


def by_optimizer(f: Fitting) -> Fitted:
    """All heads of the grid together, epoch by epoch; the best on validation is kept (DINOv2, Oquab 2023)."""
    e, grid = f.experiment, candidates(f.experiment, f.config)
    train, _ = f.table("train")
    with _one_thread_an_operation(f, train.shape[1]) as threads, _heads(f, grid, train, threads) as heads:
        course = _Course(f, heads, grid, f.scaler(train))
        with f.reporter.progress(e.trainer.epochs, f.features.steps_per_epoch) as bar:
            for epoch in range(e.trainer.epochs):
                bar.start_epoch(epoch + 1)
                course.run_epoch(epoch, bar.step)
        return course.fitted()


@contextmanager
def _one_thread_an_operation(f: Fitting, width: int) -> Iterator[int]:
    """Within, operations on small heads run in one thread each; gives the number of threads to share heads out to.

    To meet another thread takes longer than a small product, much longer on a machine that others use too.
    """
    threads = torch.get_num_threads()
    largest = max(f.features.classes, f.config.hidden if f.config.head == "mlp" else 0)
    if f.experiment.trainer.batch_size * largest * width >= SHARED_PRODUCTS:
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


@dataclass
class _Course:
    """A fit by epochs, and the best that it has come by."""

    f: Fitting
    heads: ShardedHeads
    grid: list[Candidate]
    scaler: Standardiser
    images: int = 0
    chosen: Candidate | None = None
    chosen_rank: Rank = WORST
    layers: list[LinearLayer] = field(default_factory=list)
    val: Scores | None = None

    def run_epoch(self, epoch: int, progress: Callable[[int], None]) -> None:
        """Train on every batch, validate all heads, keep the best."""
        f, heads = self.f, self.heads
        losses = torch.zeros(len(self.grid), dtype=torch.float64, device=self.scaler.mean.device)
        correct, seen, started = torch.zeros_like(losses), 0, time.perf_counter()
        total_steps = f.experiment.trainer.epochs * f.features.steps_per_epoch
        for rows, labels in f.features.epoch(epoch):
            f.check_stop()
            step = heads.step(self.scaler.apply(rows), labels, _multiplier(f.experiment, heads.steps, total_steps))
            losses += step.losses * len(labels)
            correct += step.correct
            seen += len(labels)
            progress(len(labels))
        self.images += seen
        speed = seen / max(time.perf_counter() - started, 1e-9)
        self._finish_epoch(epoch + 1, (losses / seen).tolist(), (correct / seen).tolist(), speed)

    def _finish_epoch(self, epoch: int, losses: list[float], accuracies: list[float], speed: float) -> None:
        f, e = self.f, self.f.experiment
        if not any(map(math.isfinite, losses)):
            raise RunError(
                f"no head's loss is finite in epoch {epoch}: lower the learning rate "
                f"({min(one.lr for one in self.grid):g} or more here), or set strategy.standardize=true."
            )
        leader, val = self._validate(epoch)
        one = self.grid[leader]
        train = {"loss": losses[leader], "accuracy": accuracies[leader]}
        step, values = self.heads.steps, one.values() if len(self.grid) > 1 else {}
        rate = one.lr * _multiplier(e, step - 1, e.trainer.epochs * f.features.steps_per_epoch)
        f.log.write(step=step, epoch=epoch, split="train", **train, learning_rate=rate, **values)
        if val is not None:
            f.log.write(step=step, epoch=epoch, split="val", **val, **values)
        best = val is not None and self.chosen is one and one.best_epoch == epoch
        f.reporter.epoch_line(epoch, e.trainer.epochs, train, val, images_per_second=speed, best=best)

    def _validate(self, epoch: int) -> tuple[int, Scores | None]:
        """The head that leads in this epoch and its scores; keeps the layers of the best so far."""
        rows, labels = self.f.table("val")
        if len(labels) == 0:
            # Nothing to choose by: the last epoch of the first head.
            self._keep(0, epoch, (0.0, float(epoch)), None)
            return 0, None
        rows = self.scaler.apply(rows)
        measured = self.heads.scores(rows, labels)
        pairs = zip(measured.accuracies.tolist(), measured.losses.tolist(), strict=True)
        ranks = [(accuracy, -loss) if math.isfinite(loss) else WORST for accuracy, loss in pairs]
        leader = max(range(len(ranks)), key=ranks.__getitem__)
        for one, rank in zip(self.grid, ranks, strict=True):
            if rank > one.rank:
                one.rank, one.best_epoch = rank, epoch
        val = scores(self.heads.logits_of(leader, rows).cpu().numpy(), labels.cpu().numpy())
        if ranks[leader] > self.chosen_rank:
            self._keep(leader, epoch, ranks[leader], val)
        return leader, val

    def _keep(self, index: int, epoch: int, rank: Rank, val: Scores | None) -> None:
        self.chosen, self.chosen_rank, self.val = self.grid[index], rank, val
        self.chosen.rank, self.chosen.best_epoch = rank, epoch
        self.layers = self.heads.head(index)

    def fitted(self) -> Fitted:
        """The best head, with the standardisation folded into its first layer."""
        assert self.chosen is not None
        first, *rest = self.layers
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
            best_epoch=self.chosen.best_epoch,
            val=self.val,
            steps=self.heads.steps,
            images=self.images,
            trials=[self._trial(one) for one in self.grid] if len(self.grid) > 1 else [],
        )

    def _trial(self, one: Candidate) -> dict[str, Any]:
        accuracy, loss = (one.rank[0], -one.rank[1]) if one.best_epoch else (None, None)
        row = {**one.values(), "best_epoch": one.best_epoch, "val_accuracy": accuracy, "val_loss": loss}
        return {**row, "chosen": one is self.chosen}


def _rule(e: Experiment) -> RowOptimizer:
    optimizer = e.optimizer
    if isinstance(optimizer, Sgd):
        return ROW_OPTIMIZERS["sgd"](optimizer.momentum, optimizer.nesterov)
    assert isinstance(optimizer, AdamFamily)
    return ROW_OPTIMIZERS["adamw"](optimizer.betas, optimizer.eps)


def _multiplier(e: Experiment, step: int, total_steps: int) -> float:
    return rate_multiplier(e.scheduler, step, total_steps)
