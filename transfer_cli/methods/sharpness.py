"""Sharpness-aware minimisation (SAM): step by the gradient at the worst nearby weights.

"Sharpness-Aware Minimization for Efficiently Improving Generalization" (Foret 2021, arXiv 2010.01412). Own code:
torch has none, and the optimizer wrappers of other packages hide backward and step from the loop.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import nn

from transfer_cli.models.shards import local, whole

Result = TypeVar("Result")


def sharp_gradients(module: nn.Module, rho: float, backward: Callable[[], Result]) -> Result:
    """Leave in the parameters the gradients of the loss at w + rho g / ||g||, g being its gradient at w.

    `backward` clears the gradients and makes those of one batch; it runs twice, with the same dropout and stochastic
    depth, and BatchNorm statistics move only in the first pass. The weights come back bit for bit. Returns what the
    first pass did. `rho` 0 gives exactly the gradients of one pass. Loss scaling does not matter: g is normalised.
    """
    device = next(module.parameters()).device
    with torch.random.fork_rng([device] if device.type == "cuda" else [], device_type=device.type):
        result = backward()
    with perturbed(module, rho), still_statistics(module):
        backward()
    return result


@contextmanager
def perturbed(module: nn.Module, rho: float) -> Iterator[None]:
    """Within, the parameters that have gradients are moved by `rho` along them; the norm is over all together."""
    moved = [p for p in module.parameters() if p.grad is not None]
    climbing = [local(p.detach()) for p in moved]
    before = [p.clone() for p in climbing]
    gradients = [p.grad for p in moved if p.grad is not None]
    try:
        with torch.no_grad():
            norm = whole(torch.nn.utils.get_total_norm(gradients))
            steps = torch._foreach_mul([local(gradient) for gradient in gradients], rho / (norm + 1e-12))
            torch._foreach_add_(climbing, list(steps))
        yield
    finally:
        with torch.no_grad():
            torch._foreach_copy_(climbing, before)


@contextmanager
def still_statistics(module: nn.Module) -> Iterator[None]:
    """Within, BatchNorm normalises as ever, by the batch or by its statistics, but these stay."""
    moving = [m for m in module.modules() if isinstance(m, nn.modules.batchnorm._NormBase) and m.track_running_stats]
    for layer in moving:
        layer.track_running_stats = False
    try:
        yield
    finally:
        for layer in moving:
            layer.track_running_stats = True
