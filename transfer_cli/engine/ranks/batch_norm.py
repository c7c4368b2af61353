"""BatchNorm over the samples of all ranks (SyncBN): the statistics that one process would find in the whole batch.

Torch's own module runs on GPUs alone, and takes the place of others in a network. This is a function in the place of
torch's, wherever a training step calls it, so that nothing of the network changes; gloo and NCCL run the same lines.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from transfer_cli.engine.ranks.world import World


class SyncedBatchNorm(TorchFunctionMode):
    """Within, batches are normalised over all ranks; each must run the same layers.

    `counts`: whether the samples of this rank belong to the step.
    """

    def __init__(self, world: World, *, counts: bool) -> None:
        super().__init__()
        self._world, self._counts = world, counts

    def __torch_function__(
        self, func: Callable[..., Any], types: Iterable[type], args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Whatever torch is asked for, as ever, but for batches that are normalised by their own statistics."""
        kwargs = kwargs or {}
        return self._normalized(*args, **kwargs) if func is F.batch_norm else func(*args, **kwargs)

    def _normalized(
        self,
        input: Tensor,
        running_mean: Tensor | None,
        running_var: Tensor | None,
        weight: Tensor | None = None,
        bias: Tensor | None = None,
        training: bool = False,
        momentum: float = 0.1,
        eps: float = 1e-5,
    ) -> Tensor:
        """`torch.nn.functional.batch_norm` of samples [B, C, ...]."""
        if not training:
            return F.batch_norm(input, running_mean, running_var, weight, bias, False, momentum, eps)
        output, mean, var, count = _Normalize.apply(input, weight, bias, eps, self._world, self._counts)
        if running_mean is not None and running_var is not None:
            unbiased = var * (count / (count - 1).clamp(min=1))
            for running, found in ((running_mean, mean), (running_var, unbiased)):
                running.mul_(1 - momentum).add_(found.to(running.dtype), alpha=momentum)
        return output  # type: ignore[no-any-return]


class _Normalize(torch.autograd.Function):
    """Outputs [B, C, ...], and of all ranks' samples the mean [C], the variance [C] and how many values they are of."""

    @staticmethod
    def forward(
        ctx: Any, input: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float, world: World, counts: bool
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        mean, var, count = _statistics(_precise(input), world, counts)
        output = F.batch_norm(input, mean, var, weight, bias, False, 0.0, eps)
        ctx.save_for_backward(input, weight, mean, torch.rsqrt(var + eps), count)
        ctx.world, ctx.counts = world, counts
        ctx.mark_non_differentiable(mean, var, count)
        return output, mean, var, count

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        input, weight, mean, inverse, count = ctx.saved_tensors
        over, gradient = _all_but_channels(input), _precise(gradients[0])
        normal = (_precise(input) - _like(mean, input)) * _like(inverse, input)
        of_bias, of_weight = gradient.sum(over), (gradient * normal).sum(over)
        of_input = None
        if ctx.needs_input_grad[0]:
            of_mean, of_var = (ctx.world.sum(torch.stack([of_bias, of_weight])) / count).unbind()
            of_input = gradient - _like(of_mean, input) - normal * _like(of_var, input)
            scale = inverse if weight is None else inverse * weight
            # Samples that the statistics were not made of have no part in what follows from these.
            of_input = (of_input * _like(scale, input) * float(ctx.counts)).to(input.dtype)
        return of_input, *(g if ctx.needs_input_grad[1 + k] else None for k, g in enumerate((of_weight, of_bias))), *_NO


_NO = (None, None, None)


def _statistics(values: Tensor, world: World, counts: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Mean [C], biased variance [C] and number [] of the values [B, C, ...] of all ranks; the same bits on each."""
    var, mean = torch.var_mean(values, _all_but_channels(values), correction=0)
    own = values.numel() // values.shape[1] if counts else 0
    rows = values.new_zeros(world.size, 2 * len(mean) + 1)
    rows[world.rank] = torch.cat([mean, var, mean.new_full((1,), own)])
    means, variances, numbers = world.sum(rows).split([len(mean), len(mean), 1], dim=1)
    count = numbers.sum()
    common = (means * numbers).sum(0) / count
    spread = variances + (means - common).square()
    return common, (spread * numbers).sum(0) / count, count


def _precise(values: Tensor) -> Tensor:
    """Not in half precision, in which sums are not to be had."""
    return values if values.dtype == torch.float64 else values.float()


def _all_but_channels(values: Tensor) -> list[int]:
    return [dimension for dimension in range(values.ndim) if dimension != 1]


def _like(channels: Tensor, values: Tensor) -> Tensor:
    """[C] as [1, C, 1, ...]."""
    return channels.view(1, -1, *[1] * (values.ndim - 2))
