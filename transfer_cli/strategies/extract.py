"""Extract: fit a head to features. Where the features come from, a cache or a backbone run now, it does not know."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from transfer_cli.config.extract import Extract
from transfer_cli.config.schema import Experiment
from transfer_cli.engine.stop import Stop
from transfer_cli.engine.task import Task
from transfer_cli.methods.probes.linear_layer import LEAST_DEVIATION, Standardiser, standardiser
from transfer_cli.methods.scores import Scores
from transfer_cli.models.heads import BUILDERS, HeadSpec
from transfer_cli.models.network import run_frozen
from transfer_cli.records.events import Recorders
from transfer_cli.records.terminal import Reporter

Batches = Iterator[tuple[Tensor, Tensor]]
"""Features [B, D] float32 and labels [B] int64, on the device."""


class Features(Protocol):
    """Features of the data set's splits."""

    classes: int
    steps_per_epoch: int

    def identity(self) -> str | None:
        """Digits that equal features with equal labels have in common; None where nobody knows them to be equal."""
        ...

    @property
    def width(self) -> int:
        """D."""
        ...

    def epoch(self, epoch: int) -> Batches:
        """The training samples of an epoch in its order and view."""
        ...

    def split(self, name: str) -> Batches:
        """The samples of `train` (in the first view), `val` or `test` in data set order."""
        ...


@dataclass(frozen=True)
class Fitting:
    """What every solver works with."""

    features: Features
    experiment: Experiment
    config: Extract
    task: Task
    recorders: Recorders
    reporter: Reporter
    stop: Stop
    started: float = field(default_factory=time.perf_counter)

    def seconds(self) -> float:
        """Since the fit began."""
        return time.perf_counter() - self.started

    def check_stop(self) -> None:
        """Raises Stopped where a signal came. Nothing is lost: features are kept, and a head is fitted in seconds."""
        self.stop.check("while the head was fitted; the same command with resume=auto fits it again")

    def table(self, split: str) -> tuple[Tensor, Tensor]:
        """All features [N, D] and labels [N] of a split, in memory; of an empty split [0, D] and [0]."""
        return table(self.features, split)

    def scaler(self, train: Tensor) -> Standardiser:
        """What standardises features, from those of the training samples [N, D]; identity where that is off.

        Of joined stages each deviates by another measure, and all are brought to one.
        """
        if self.config.standardize:
            return standardiser(train, 0.0 if self.config.stages else LEAST_DEVIATION)
        width = train.shape[1]
        zeros = torch.zeros(width, dtype=torch.float64, device=train.device)
        return Standardiser(zeros, torch.ones_like(zeros))


def table(features: Features, split: str) -> tuple[Tensor, Tensor]:
    """All features [N, D] and labels [N] of a split, in memory; of an empty split [0, D] and [0]."""
    parts = list(features.split(split))
    if not parts:
        return torch.zeros(0, features.width), torch.zeros(0, dtype=torch.int64)
    return torch.cat([rows for rows, _ in parts]), torch.cat([labels for _, labels in parts])


@dataclass(frozen=True)
class Fitted:
    """A fitted head: its shape and tensors, and how the fit went."""

    spec: HeadSpec
    tensors: dict[str, Tensor]
    best_epoch: int
    val: Scores | None
    steps: int
    images: int
    """Features that it trained on, counted each time."""
    trials: list[dict[str, Any]] = field(default_factory=list)
    """A row for each head, penalty or number of neighbours that was tried, the chosen one marked."""
    seconds: float | None = None
    """Its share of a pass that fitted heads of other jobs too; None: it took what passed."""

    def module(self, classes: int) -> torch.nn.Module:
        """The head as a module, features [B, D] to logits [B, K]."""
        head = BUILDERS[self.spec.kind](self.spec, classes)
        head.load_state_dict(self.tensors)
        return head.eval()


@torch.no_grad()
def head_logits(features: Features, head: torch.nn.Module, split: str) -> tuple[NDArray[Any], NDArray[Any]] | None:
    """Logits [N, K] and labels [N] of a split; None where it has no samples."""
    parts = [(run_frozen(head, rows).cpu().numpy(), labels.cpu().numpy()) for rows, labels in features.split(split)]
    if not parts:
        return None
    return np.concatenate([logits for logits, _ in parts]), np.concatenate([labels for _, labels in parts])
