"""Extract: fit a head to features. Where the features come from, a cache or a backbone run now, it does not know."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor

from transfer_cli.models.heads import BUILDERS, HeadSpec

Batches = Iterator[tuple[Tensor, Tensor]]
"""Features [B, D] float32 and labels [B] int64, on the device."""


class Features(Protocol):
    """Features of the data set's splits."""

    classes: int

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
class Fitted:
    """A fitted head: its shape and tensors, and how the fit went."""

    spec: HeadSpec
    tensors: dict[str, Tensor]
    best_epoch: int
    val: dict[str, float] | None
    steps: int
    grid: list[dict[str, Any]] = field(default_factory=list)
    """A row for each of many heads, or for each penalty or number of neighbours that was tried."""

    def module(self, classes: int) -> torch.nn.Module:
        """The head as a module, features [B, D] to logits [B, K]."""
        head = BUILDERS[self.spec.kind](self.spec, classes)
        head.load_state_dict(self.tensors)
        return head.eval()
