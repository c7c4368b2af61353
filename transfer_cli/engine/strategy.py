"""What the loop knows of a strategy: one module whose forward pass is the loss of a batch, and its modes by epoch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol

from torch import Tensor, nn

from transfer_cli.data.batches import Batch
from transfer_cli.models.network import Network


@dataclass(frozen=True)
class ParameterGroup:
    """Parameters of one stage that share a rate and a decay."""

    stage: str
    parameters: dict[str, nn.Parameter]
    lr_multiplier: float
    decay: bool
    thaw_epoch: int = 0
    """The epoch, from 0, in which it begins to train."""


class StepResult(NamedTuple):
    """`loss` is a scalar; `logits` [B, K] are for the running accuracy."""

    loss: Tensor
    logits: Tensor
    parts: dict[str, Tensor] = {}  # noqa: RUF012 - never changed
    """The named parts of the loss, [] each, detached, with their weights: together they are the loss."""


class Strategy(Protocol):
    """One way to transfer: a module, so that compilation and data parallelism can wrap what the loop calls."""

    network: Network
    """What is trained, evaluated and exported."""

    def train_mode(self, epoch: int) -> None:
        """Gradients and training mode for what trains in `epoch` (from 0); eval mode for what is frozen in it."""
        ...

    def __call__(self, batch: Batch) -> StepResult:
        """The loss of one batch on the device, its inputs as stage number `batch.stage` takes them."""
        ...
