"""What the loop knows of a strategy: its parameter groups, its modes, and the loss of one batch."""

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


class Strategy(Protocol):
    """One way to transfer. `network` is what is trained, evaluated and exported."""

    network: Network

    def parameter_groups(self) -> list[ParameterGroup]:
        """All groups that will ever train, from the start."""
        ...

    def train_mode(self, epoch: int) -> None:
        """Gradients and training mode for what trains in `epoch` (from 0); eval mode for what is frozen in it."""
        ...

    def step(self, batch: Batch) -> StepResult:
        """The loss of one batch on the device, its inputs as the network takes them."""
        ...
