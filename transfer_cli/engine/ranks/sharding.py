"""`trainer.sharding=full`: each rank keeps a part of the weights, of their gradients and of the optimizer's state.

Torch's FSDP2: the weights of a part of the network come together while it runs, and go apart again. "PyTorch FSDP:
Experiences on Scaling Fully Sharded Data Parallel" (Zhao 2023, arXiv 2304.11277).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from transfer_cli.data.batches import Batch
from transfer_cli.engine.ranks.step import Step, module_of
from transfer_cli.engine.ranks.world import World
from transfer_cli.engine.strategy import StepResult, Strategy

LARGEST_SHARE, LEAST_SHARE = 1 / 4, 1 / 100
"""Of all weights, in a part that comes together by itself: what is larger is looked at for smaller ones."""


@dataclass(frozen=True)
class Sharded:
    """The forward pass of a strategy whose parameters are shared out."""

    step: Any
    """Torch's FSDPModule over all, and those over the parts, which come together by themselves."""
    parts: list[Any]

    def __call__(self, batch: Batch) -> StepResult:
        """The loss of this rank's samples; all ranks must ask, and take as many backward passes."""
        result: StepResult = self.step(batch)
        return result

    @contextmanager
    def whole(self) -> Iterator[None]:
        """Within, each rank has all weights, and may run the network as often as it likes."""
        for part in self.parts:
            part.set_reshard_after_forward(False, recurse=False)
        for part in (*self.parts, self.step):
            part.unshard()
        try:
            yield
        finally:
            for part in (*self.parts, self.step):
                part.reshard()
            for part in self.parts:
                part.set_reshard_after_forward(True, recurse=False)


def share_out(strategy: Strategy, parts: Iterable[nn.Module], world: World, device: torch.device) -> Sharded:
    """Share out the parameters of a strategy, in place: they are other objects afterwards, of the same names."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    for parameter in module_of(strategy).parameters():
        # Torch shares out nothing that lies in memory otherwise (channels last).
        parameter.data = parameter.data.contiguous()
    mesh = init_device_mesh(device.type, (world.size,))
    wrapped = [fully_shard(part, mesh=mesh) for part in parts]
    step: Any = fully_shard(Step(module_of(strategy), strategy), mesh=mesh)
    # It must know that it is the outermost before a part runs by itself.
    step(None)
    step.reshard()
    return Sharded(step, wrapped)


def parts_of(module: nn.Module, run: Callable[[], object]) -> list[nn.Module]:
    """The parts of `module` whose parameters may be apart but while they run, found by watching `run`.

    The largest ones that are not too large, and no tiny ones. Each runs once, and nobody else reads its parameters.
    """
    watch = _Watch(dict(module.named_parameters()))
    with watch.of(module):
        run()
    sizes = {name: sum(p.numel() for p in part.parameters()) for name, part in module.named_modules()}

    def found(name: str) -> list[str]:
        below = [f"{name}.{child}" if name else child for child, _ in module.get_submodule(name).named_children()]
        smaller = [part for child in below for part in found(child)]
        fits = bool(name) and watch.calls[name] == 1 and name not in watch.read_outside
        share = sizes[name] / sizes[""]
        return [name] if fits and share >= LEAST_SHARE and (share <= LARGEST_SHARE or not smaller) else smaller

    return [module.get_submodule(name) for name in found("")]


@dataclass
class _Watch:
    """Which modules run, and which parameters are read while theirs does not."""

    parameters: dict[str, nn.Parameter]
    calls: Counter[str] = field(default_factory=Counter)
    read_outside: set[str] = field(default_factory=set)
    """Modules that have such a parameter, or contain one that does."""
    _running: list[str] = field(default_factory=list)

    @contextmanager
    def of(self, module: nn.Module) -> Iterator[None]:
        """Within, all that `module` does is watched."""
        with ExitStack() as stack:
            for name, part in module.named_modules():
                for hook in (
                    part.register_forward_pre_hook(self._enters(name)),
                    part.register_forward_hook(self._leaves, always_call=True),
                ):
                    stack.callback(hook.remove)
            stack.enter_context(_Reads({id(p): name for name, p in self.parameters.items()}, self._note))
            yield

    def _enters(self, name: str) -> Callable[..., None]:
        def enter(*_: Any) -> None:
            self.calls[name] += 1
            self._running.append(name)

        return enter

    def _leaves(self, *_: Any) -> None:
        self._running.pop()

    def _note(self, parameter: str) -> None:
        owners = parameter.split(".")[:-1]
        paths = {".".join(owners[:depth]) for depth in range(1, len(owners) + 1)}
        self.read_outside |= paths.difference(self._running)


class _Reads(TorchFunctionMode):
    """Tells of every function of torch that takes one of some tensors, but for questions such as for its shape."""

    def __init__(self, names: dict[int, str], note: Callable[[str], None]) -> None:
        super().__init__()
        self._names, self._note = names, note

    def __torch_function__(
        self, func: Callable[..., Any], types: Iterable[type], args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if getattr(func, "__name__", "") != "__get__" or isinstance(result, Tensor):
            for value in tree_leaves((args, kwargs)):
                if id(value) in self._names:
                    self._note(self._names[id(value)])
        return result
