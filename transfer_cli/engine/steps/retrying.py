"""What a try that ran out of memory has moved, put back, so that the next one begins where it began."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from transfer_cli.errors import RunError, first_line, is_out_of_memory
from transfer_cli.methods.distill.contrast import Contrast

Result = TypeVar("Result")


def tried(work: Callable[[], Result]) -> tuple[Result | None, str | None]:
    """(what `work` returns, None), or (None, why) where memory ran out.

    The error is gone then, and with it the frames that hold on to what they had made: a graph, above all.
    """
    try:
        return work(), None
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        return None, first_line(error)


def give_back(device: torch.device) -> None:
    """Let the device have what torch keeps for the next tensor."""
    if device.type == "cuda":
        torch.cuda.empty_cache()


class Moved:
    """What a forward pass in training moves besides gradients: statistics and memories."""

    def __init__(self, module: nn.Module) -> None:
        self._module = module
        self._statistics: list[list[Tensor]] = []
        self._before: list[list[Tensor]] = []
        self._memories = [part for part in module.modules() if isinstance(part, Contrast)]
        self._remembered: list[dict[str, Tensor]] = []

    def begin_epoch(self) -> None:
        """Once it is known what trains."""
        layers = [layer for layer in self._module.modules() if isinstance(layer, _NormBase) and layer.training]
        values = [[layer.running_mean, layer.running_var] for layer in layers]
        averages = [tensor for pair in values for tensor in pair if tensor is not None]
        counters = [layer.num_batches_tracked for layer in layers if layer.num_batches_tracked is not None]
        self._statistics = [tensors for tensors in (averages, counters) if tensors]
        self._before = [[torch.empty_like(tensor) for tensor in tensors] for tensors in self._statistics]

    def remember(self) -> None:
        """Before the first try."""
        for kept, now in zip(self._before, self._statistics, strict=True):
            torch._foreach_copy_(kept, now)
        self._remembered = [memory.remembered() for memory in self._memories]

    @torch.no_grad()
    def put_back(self) -> None:
        """After a try that failed."""
        for kept, now in zip(self._before, self._statistics, strict=True):
            torch._foreach_copy_(now, kept)
        for memory, before in zip(self._memories, self._remembered, strict=True):
            memory.recall(before)


NO_STATE = (
    "out of memory for what the optimizer keeps of each weight ({reason}); {held}. States saved so far are kept. Take "
    "optimizer=sgd, which keeps least, a smaller trainer.batch_size, or let fewer layers train (strategy.unfreeze)."
)


def stepped(
    optimizer: torch.optim.Optimizer, step: Callable[[], object], device: torch.device, *, moves: bool = True
) -> None:
    """Take an optimizer's `step`, twice where memory runs out before a weight has moved.

    That is where it makes its first state; one that `moves` nothing makes nothing else. Raises RunError where memory
    runs out again, or something has moved.
    """
    # Moments that are there may move before the weights, and nothing would tell.
    before = None if moves and optimizer.state else _Before(optimizer)
    _, reason = tried(step)
    if reason is not None and before is not None and not (moves and before.has_moved()):
        before.put_back()
        give_back(device)
        _, reason = tried(step)
    if reason is not None:
        raise RunError(NO_STATE.format(reason=reason, held=_held(_weights(optimizer), device)))


class _Before:
    """An optimizer as it is before a step that makes state for weights which have none."""

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        self._optimizer, self._known = optimizer, set(optimizer.state)
        self._versions = [p._version for p in _weights(optimizer)]
        self._counters = [group.get("step") for group in optimizer.param_groups]

    def has_moved(self) -> bool:
        """Whether a weight is another now: torch counts changes, but not those by one kernel for all weights.

        What such an optimizer makes for a weight that had nothing says so: a counter that counts, a momentum.
        """
        new = [state for weight, state in self._optimizer.state.items() if weight not in self._known]
        counted = any("momentum_buffer" in state or float(state.get("step", 0)) > 0 for state in new)
        versions = zip(_weights(self._optimizer), self._versions, strict=True)
        return counted or any(p._version != version for p, version in versions)

    def put_back(self) -> None:
        """Drop what was made for weights that had nothing: it may be half of what they need."""
        for weight in [weight for weight in self._optimizer.state if weight not in self._known]:
            del self._optimizer.state[weight]
        for group, counter in zip(self._optimizer.param_groups, self._counters, strict=True):
            group.update({} if counter is None else {"step": counter})


def _weights(optimizer: torch.optim.Optimizer) -> list[nn.Parameter]:
    return [p for group in optimizer.param_groups for p in group["params"]]


def _held(weights: list[nn.Parameter], device: torch.device) -> str:
    """How much trains, and what a GPU has given for it."""
    trains = f"{sum(p.numel() for p in weights if p.grad is not None):,} weights train"
    if device.type != "cuda":
        return trains
    free, total = torch.cuda.mem_get_info(device)
    return f"{trains}, {free / 2**30:.1f} of {total / 2**30:.1f} GiB are free"
