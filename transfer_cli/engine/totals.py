"""Running sums of an epoch: they stay on the device, and ranks add theirs up."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from transfer_cli.engine.ranks.parallel import Parallel
from transfer_cli.engine.strategy import StepResult
from transfer_cli.engine.task import Task


@dataclass
class Totals:
    """Running sums of one epoch, on the device: loss [], right and labelled images [], each part of the loss []."""

    task: Task
    loss: Tensor
    correct: Tensor
    labelled: Tensor
    parts: dict[str, Tensor] = field(default_factory=dict)
    seen: int = 0
    """Images, on the host."""

    @classmethod
    def zeros(cls, task: Task, device: torch.device) -> Totals:
        """All zero; the loss is float32 on MPS, which has no float64."""
        precise = torch.float32 if device.type == "mps" else torch.float64
        correct, labelled = torch.zeros(2, dtype=torch.int64, device=device).unbind()
        return cls(task, torch.zeros((), dtype=precise, device=device), correct, labelled)

    def add(self, result: StepResult, labels: Tensor, *, idle: bool = False) -> None:
        """Count one batch, whose loss and parts are means over its samples; one that is `idle` as nothing."""
        count = 0 if idle else len(labels)
        right, labelled = self.task.right(result.logits[:count], labels[:count])
        self.loss += result.loss.to(self.loss.dtype) * count
        self.correct += right
        self.labelled += labelled
        for name, value in result.parts.items():
            self.parts[name] = self.parts.get(name, torch.zeros_like(self.loss)) + value.to(self.loss.dtype) * count
        self.seen += count

    def of(self, result: StepResult, labels: Tensor, *, idle: bool = False) -> Totals:
        """Those of one batch alone, as `add` counts it."""
        own = Totals.zeros(self.task, self.loss.device)
        own.add(result, labels, idle=idle)
        return own

    def unless(self, left_out: Tensor) -> Totals:
        """These, or all zero but for `seen` where `left_out` [] is true: only the device knows."""

        def kept(value: Tensor) -> Tensor:
            return torch.where(left_out, torch.zeros_like(value), value)

        parts = {name: kept(value) for name, value in self.parts.items()}
        return Totals(self.task, kept(self.loss), kept(self.correct), kept(self.labelled), parts, self.seen)

    def merge(self, other: Totals) -> None:
        """Add the sums of other batches."""
        self.loss += other.loss
        self.correct += other.correct
        self.labelled += other.labelled
        for name, value in other.parts.items():
            self.parts[name] = self.parts.get(name, torch.zeros_like(self.loss)) + value
        self.seen += other.seen

    def over(self, parallel: Parallel, images: int) -> Totals:
        """The sums over all ranks, of so many images together."""
        own = [self.loss, self.correct, self.labelled, *self.parts.values()]
        sums = parallel.agree(torch.stack([value.to(self.loss.dtype) for value in own]))
        loss, correct, labelled, *parts = sums.unbind()
        counts = correct.to(torch.int64), labelled.to(torch.int64)
        return Totals(self.task, loss, *counts, dict(zip(self.parts, parts, strict=True)), images)

    def to_dict(self) -> dict[str, Any]:
        """Plain values; the device synchronises here."""
        parts = {name: float(value) for name, value in self.parts.items()}
        counts = {"correct": int(self.correct), "labelled": int(self.labelled), "seen": self.seen}
        return {"loss": float(self.loss), **counts, "parts": parts}

    def from_dict(self, values: dict[str, Any]) -> Totals:
        """Sums with the values of `to_dict`, for the same task on the same device."""
        found = Totals.zeros(self.task, self.loss.device)
        found.loss += values["loss"]
        found.correct += values["correct"]
        found.labelled += values["labelled"]
        found.parts = {name: torch.zeros_like(found.loss) + value for name, value in values["parts"].items()}
        found.seen = values["seen"]
        return found

    def means(self) -> tuple[float, float]:
        """(loss, accuracy of the images with labels, nan without any); the device synchronises here."""
        labelled = int(self.labelled)
        return float(self.loss) / max(self.seen, 1), float(self.correct) / labelled if labelled else math.nan

    def part_means(self) -> dict[str, float]:
        """The mean of each part of the loss; the device synchronises here."""
        return {name: float(value) / max(self.seen, 1) for name, value in self.parts.items()}
