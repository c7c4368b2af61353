"""Steps on a GPU that nobody waits for: the device itself leaves out one whose loss or gradient is not finite.

The host hears of it some steps later. Until then every step after it is left out too, so that weights, moments and the
average are those before it when the run ends, and the message names the step where it began.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from transfer_cli.engine.steps.check import MAX_SKIPPED_STEPS, Moment, Past
from transfer_cli.engine.steps.readings import DELAY, Readings
from transfer_cli.engine.steps.retrying import stepped
from transfer_cli.engine.totals import Totals
from transfer_cli.models.shards import whole


@dataclass(frozen=True)
class _Taken:
    """A step that the host has not heard of, and where so many images of it were counted."""

    moment: Moment
    totals: Totals
    images: int


class GuardedSteps:
    """The steps of one optimizer whose kernels can leave one out (`can_guard`)."""

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        scaler: torch.amp.GradScaler,
        clip_grad: float | None,
        past: Past,
        device: torch.device,
        delay: int = DELAY,
    ) -> None:
        self._optimizer, self._scaler, self._clip, self._past = optimizer, scaler, clip_grad, past
        self._readings: Readings[_Taken] = Readings(device, delay)
        self._ended = torch.zeros((), dtype=torch.bool, device=device)
        self._skipped: Tensor | None = None

    def step(self, loss: Tensor) -> tuple[Tensor, Tensor]:
        """Step by the gradients; whether the step is left out, bool [], and what `tell` takes, [2].

        Nothing here waits for the device.
        """
        self._scaler.unscale_(self._optimizer)
        gradients = [p.grad for group in self._optimizer.param_groups for p in group["params"] if p.grad is not None]
        norm = whole(nn.utils.get_total_norm(gradients))
        bad = ~(loss.isfinite() & norm.isfinite())
        if self._scaler.is_enabled():
            if self._skipped is None:
                self._skipped = torch.full((), self._past.skipped, device=loss.device)
            self._skipped = torch.where(bad, self._skipped + 1, 0)
            self._ended |= self._skipped > MAX_SKIPPED_STEPS
        else:
            self._ended |= bad
        left_out = bad | self._ended
        scale = None if self._clip is None else ((norm + 1e-6) / self._clip).clamp_min(1)
        if _lacks_state(self._optimizer):
            # All of it before a weight moves: a step that runs out of memory half-way could not be taken again.
            nothing = torch.ones_like(left_out)
            stepped(self._optimizer, lambda: guarded_step(self._optimizer, nothing, None), loss.device, moves=False)
        guarded_step(self._optimizer, left_out, scale)
        return left_out, torch.stack([loss.float(), norm.float()])

    def tell(self, reading: Tensor, moment: Moment, totals: Totals, images: int) -> None:
        """Let the host read of a step when it is done, and judge those that are done by now.

        Raises DivergenceError for one that was not finite.
        """
        self._readings.put(reading, _Taken(moment, totals, images))
        for values, taken in self._readings.due():
            self._judge(values, taken)

    def settle(self) -> None:
        """Judge all steps so far; the host waits for the device. Raises DivergenceError."""
        for values, taken in self._readings.all():
            self._judge(values, taken)

    def _judge(self, values: list[float], taken: _Taken) -> None:
        loss, norm = values
        if not self._past.judge(loss, norm, taken.moment, scaled=self._scaler.is_enabled()):
            taken.totals.seen -= taken.images


def can_guard(optimizer: torch.optim.Optimizer) -> bool:
    """Whether one kernel moves all weights of the optimizer, which can be told to leave them."""
    return bool(optimizer.defaults.get("fused")) and getattr(optimizer, "_step_supports_amp_scaling", False)


def guarded_step(optimizer: torch.optim.Optimizer, left_out: Tensor, scale: Tensor | None) -> None:
    """A step by the gradients divided by `scale` []; where `left_out` [] is true, weights, moments and counters stay.

    Both reach the kernels as torch's GradScaler hands them over: by attributes of the optimizer, of which its
    documentation does not speak.
    """
    _begin_momentum(optimizer)
    optimizer.found_inf, optimizer.grad_scale = left_out.float(), scale  # type: ignore[attr-defined]
    try:
        optimizer.step()
    finally:
        del optimizer.found_inf, optimizer.grad_scale  # type: ignore[attr-defined]


def _lacks_state(optimizer: torch.optim.Optimizer) -> bool:
    """Whether weights have a gradient for the first time, and the optimizer keeps something of each."""
    return any(
        parameter.grad is not None and parameter not in optimizer.state
        for group in optimizer.param_groups
        if group.get("momentum", 1)
        for parameter in group["params"]
    )


def _begin_momentum(optimizer: torch.optim.Optimizer) -> None:
    """SGD begins with the first gradient as its momentum: where that is left out, memory as it was found would stay.

    From zero it comes to the same.
    """
    if not isinstance(optimizer, torch.optim.SGD):
        return
    for group in optimizer.param_groups:
        for parameter in group["params"] if group["momentum"] else ():
            if parameter.grad is not None and optimizer.state[parameter].get("momentum_buffer") is None:
                optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
