"""An exponential average of the weights (EMA), trained beside them and swapped in to be evaluated.

"Acceleration of stochastic approximation by averaging" (Polyak 1992). Ours rather than torch's AveragedModel or timm's
ModelEmaV3: both average a copy of the module, which the strategy that evaluates does not hold; the first also waits for
the device at every step (it reads its counter), and the second warms up by another formula.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from transfer_cli.errors import is_out_of_memory
from transfer_cli.models.shards import local, put


def decay_at(step: int, decay: float) -> float:
    """min(decay, (1 + step) / (10 + step)): the decay after step `step` (from 0), warmed up as in TensorFlow."""
    return min(decay, (1 + step) / (10 + step))


class Average:
    """The average of a module's parameters and buffers; integer buffers, such as counters, are copied.

    Tensors that never change, such as those of a frozen stage, stay equal bit for bit. `tensors` is what a state saves
    and `load` takes.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay = decay
        self.tensors = {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}

    @torch.no_grad()
    def update(self, module: nn.Module, step: int, unless: Tensor | None = None) -> None:
        """average <- d average + (1 - d) weights, after optimizer step `step` (from 0).

        Nothing where `unless` [] is true, which only the device knows; the weights must be finite then as well.
        """
        pairs = [(local(self.tensors[name]), local(tensor)) for name, tensor in module.state_dict().items()]
        averaged = [pair for pair in pairs if pair[0].is_floating_point()]
        averages, weights, share = [a for a, _ in averaged], [w for _, w in averaged], 1 - decay_at(step, self.decay)
        if unless is None:
            torch._foreach_lerp_(averages, weights, share)
        else:
            gaps = list(torch._foreach_sub(weights, averages))
            torch._foreach_mul_(gaps, torch.where(unless, 0.0, share))
            torch._foreach_add_(averages, gaps)
        for counter, now in pairs:
            if not counter.is_floating_point():
                counter.copy_(now)

    @torch.no_grad()
    def swap(self, module: nn.Module) -> None:
        """Exchange the average and the module's own tensors, in place; twice gives everything back."""
        for name, tensor in module.state_dict().items():
            _exchange(local(tensor), local(self.tensors[name]))

    @contextmanager
    def swapped(self, module: nn.Module) -> Iterator[None]:
        """Within, the module is its average, to be evaluated or saved as the weights to keep."""
        self.swap(module)
        try:
            yield
        finally:
            self.swap(module)

    @torch.no_grad()
    def load(self, tensors: dict[str, Tensor]) -> None:
        """Take back what a state saved, bit for bit, each tensor laid out in memory as its weight is."""
        assert tensors.keys() == self.tensors.keys()
        for name, tensor in tensors.items():
            put(tensor, self.tensors[name])


def _exchange(one: Tensor, other: Tensor) -> None:
    """Each takes the numbers of the other; in parts where there is no room for a copy of all of them."""
    try:
        copy = one.clone()
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error) or one.ndim == 0 or len(one) <= 1:
            raise
    else:
        one.copy_(other)
        other.copy_(copy)
        return
    for part, its in zip(one.tensor_split(2), other.tensor_split(2), strict=True):
        _exchange(part, its)
