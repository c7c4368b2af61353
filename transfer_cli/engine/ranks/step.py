"""The module that several ranks run: a strategy's forward pass, and how it is tried without a trace."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import nn

from transfer_cli.data.batches import Batch
from transfer_cli.engine.strategy import StepResult, Strategy
from transfer_cli.methods.distill.contrast import Contrast
from transfer_cli.methods.sharpness import still_statistics

PROBED_SAMPLES = 2


class Step(nn.Module):
    """What is wrapped. The logits are for the running accuracy alone: nothing may look as if it had a gradient."""

    def __init__(self, strategy: nn.Module, forward: Callable[[Batch], StepResult]) -> None:
        super().__init__()
        self.strategy = strategy
        self._forward = forward

    def forward(self, batch: Batch | None) -> StepResult | None:
        """The result of a batch; None of none, which wrappers take to make themselves ready."""
        if batch is None:
            return None
        result = self._forward(batch)
        return result._replace(logits=result.logits.detach())


def module_of(strategy: Strategy) -> nn.Module:
    """A strategy as the module that it is."""
    assert isinstance(strategy, nn.Module)
    return strategy


def memories_of(strategy: Strategy) -> list[Contrast]:
    """Its memories of samples."""
    return [module for module in module_of(strategy).modules() if isinstance(module, Contrast)]


@contextmanager
def tried_out(strategy: Strategy, device: torch.device) -> Iterator[None]:
    """Within, forward passes move no statistics, no memory and no random numbers."""
    memories = memories_of(strategy)
    for memory in memories:
        memory.eval()
    with (
        torch.random.fork_rng([device] if device.type == "cuda" else [], device_type=device.type),
        still_statistics(module_of(strategy)),
    ):
        yield
    for memory in memories:
        memory.train()
