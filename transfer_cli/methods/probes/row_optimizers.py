"""SGD and AdamW over many heads at once: each row of a tensor has a rate and a decay of its own.

Written out because building any optimizer of torch.optim costs 1.2 s of imports, a third of a warm extract run.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor


class RowOptimizer(Protocol):
    """An update rule; `slots` is how many tensors of state each weight needs, zero at the start."""

    @property
    def slots(self) -> int: ...

    def update(
        self, weight: Tensor, gradient: Tensor, state: list[Tensor], rates: Tensor, decays: Tensor, step: int
    ) -> None:
        """Change `weight` and `state` in place; `step` counts from 1; `rates` and `decays` broadcast over `weight`."""
        ...


@dataclass(frozen=True)
class Sgd:
    """Momentum SGD, Nesterov's on request, with the decay in the gradient: the arithmetic of torch.optim.SGD."""

    momentum: float = 0.9
    nesterov: bool = True

    @property
    def slots(self) -> int:
        """The velocity."""
        return 1

    def update(
        self, weight: Tensor, gradient: Tensor, state: list[Tensor], rates: Tensor, decays: Tensor, step: int
    ) -> None:
        """One step against the velocity, which holds the decayed gradients of earlier steps."""
        velocity = state[0]
        gradient = torch.addcmul(gradient, weight, decays)
        velocity.mul_(self.momentum).add_(gradient)
        direction = gradient.add_(velocity, alpha=self.momentum) if self.nesterov else velocity
        weight.addcmul_(direction, rates, value=-1)


@dataclass(frozen=True)
class AdamW:
    """Adam with decoupled decay (Loshchilov 2019, arXiv 1711.05101): the arithmetic of torch.optim.AdamW."""

    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8

    @property
    def slots(self) -> int:
        """Mean and mean square of the gradient."""
        return 2

    def update(
        self, weight: Tensor, gradient: Tensor, state: list[Tensor], rates: Tensor, decays: Tensor, step: int
    ) -> None:
        """One step against the mean gradient over the root of its mean square, both corrected for their start at 0."""
        mean, square = state
        beta1, beta2 = self.betas
        mean.lerp_(gradient, 1 - beta1)
        square.mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
        # m / (sqrt(v) / c + eps) = c m / (sqrt(v) + c eps): one pass over memory less for each step.
        correction = (1 - beta2**step) ** 0.5
        direction = torch.sqrt(square).add_(self.eps * correction)
        torch.div(mean, direction, out=direction)
        weight.mul_(1 - rates * decays).addcmul_(direction, rates * (correction / (1 - beta1**step)), value=-1)


ROW_OPTIMIZERS: dict[str, Callable[..., RowOptimizer]] = {"sgd": Sgd, "adamw": AdamW}
