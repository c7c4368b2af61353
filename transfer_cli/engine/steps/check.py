"""Whether a step may be taken: its loss and its gradient are finite, or the run ends with the weights before it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from transfer_cli.errors import RunError
from transfer_cli.models.shards import whole

# Loss scaling overflows now and then, by design; more in a row than this is divergence.
MAX_SKIPPED_STEPS = 25


@dataclass(frozen=True)
class DivergedStep:
    """The step, from 0, whose loss or gradient was not finite, and the images that it saw."""

    step: int
    epoch: int
    """From 1."""
    loss: float
    gradient_norm: float
    learning_rate: float
    indices: list[int]
    """In the data set; of several ranks, this one's."""


class DivergenceError(RunError):
    """Training cannot go on: a step was not finite. Its weights are those before it."""

    def __init__(self, message: str, step: DivergedStep) -> None:
        super().__init__(message)
        self.step = step


@dataclass(frozen=True)
class Moment:
    """Which step it is: its number from 0, its epoch from 1, its rate, and the `own` indices of its images [B]."""

    step: int
    epoch: int
    rate: float
    own: Tensor


@dataclass
class Past:
    """What the host knows of the steps so far."""

    skipped: int = 0
    """Steps in a row that overflowed under loss scaling."""
    losses: list[float] = field(default_factory=list)
    """The last finite ones, five at most."""
    first: float | None = None
    """The loss of step 0, until somebody has looked at it."""

    def judge(self, loss: float, norm: float, moment: Moment, *, scaled: bool) -> bool:
        """Whether a step could be taken, with its loss and the norm of its gradient; `scaled` ones may overflow.

        Raises DivergenceError where training cannot go on.
        """
        if math.isfinite(loss) and math.isfinite(norm):
            self.skipped = 0
            self.losses = [*self.losses[-4:], loss]
            self.first = loss if moment.step == 0 else self.first
            return True
        self.skipped += 1
        if scaled and self.skipped <= MAX_SKIPPED_STEPS:
            return False
        history = ", ".join(f"{past:.4g}" for past in self.losses) or "none"
        seen = DivergedStep(moment.step, moment.epoch, loss, norm, moment.rate, moment.own.tolist())
        raise DivergenceError(
            f"the loss or its gradient is not finite at step {moment.step} (epoch {moment.epoch}): loss {loss:g}, "
            f"gradient norm {norm:g}, learning rate {moment.rate:.3g}, last finite losses {history}. Lower "
            "optimizer.lr, raise scheduler.warmup, or set trainer.clip_grad=1; states saved so far are kept.",
            seen,
        )


def clip_and_check(
    optimizer: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
    clip_grad: float | None,
    loss: Tensor,
    past: Past,
    moment: Moment,
) -> bool:
    """Unscale and clip the gradients; whether the step may be taken. The host waits for the device here.

    Raises DivergenceError, naming the images of the step, before the weights move.
    """
    scaler.unscale_(optimizer)
    norm = whole(_norm(optimizer, clip_grad))
    value, norm_value = torch.stack([loss.float(), norm.float()]).tolist()
    return past.judge(value, norm_value, moment, scaled=scaler.is_enabled())


def _norm(optimizer: torch.optim.Optimizer, clip_grad: float | None) -> Tensor:
    """Of all gradients together, which are clipped; without a limit torch would still multiply each of them by 1."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    if clip_grad is not None:
        return nn.utils.clip_grad_norm_(parameters, clip_grad)
    return nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
