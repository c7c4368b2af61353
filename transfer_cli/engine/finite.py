"""Where in a network numbers stop being finite: looked at module by module, for one step."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn


@dataclass
class Findings:
    """What was seen of one step."""

    broken: list[str] = field(default_factory=list)
    """Modules whose output was not finite though all that they take was, in the order of computing."""
    largest: dict[str, float] = field(default_factory=dict)
    """The largest absolute value that came out of each module, by its name."""


@contextmanager
def watched(module: nn.Module) -> Iterator[Findings]:
    """While open, every forward pass of `module` is looked at."""
    found = Findings()
    hooks = [
        child.register_forward_hook(_hook(name or type(child).__name__, found))
        for name, child in module.named_modules()
        if not any(True for _ in child.children())
    ]
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()


def not_finite(tensors: dict[str, Tensor]) -> list[str]:
    """The names of those that hold an infinity or NaN."""
    return [name for name, tensor in tensors.items() if not _finite(_floats(tensor))]


def gradients(module: nn.Module) -> dict[str, Tensor]:
    """Of each parameter that has one."""
    return {name: p.grad for name, p in module.named_parameters() if p.grad is not None}


def _hook(name: str, found: Findings) -> Any:
    def look(_: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        outputs = _floats(output)
        if not outputs:
            return
        found.largest[name] = max(float(one.detach().abs().max()) for one in outputs if one.numel())
        if not _finite(outputs) and _finite(_floats(inputs)):
            found.broken.append(name)

    return look


def _floats(values: Any) -> list[Tensor]:
    """The tensors of real numbers among the inputs or outputs of a module."""
    if isinstance(values, Tensor):
        return [values] if values.is_floating_point() else []
    return [tensor for one in values for tensor in _floats(one)] if isinstance(values, tuple | list) else []


def _finite(tensors: list[Tensor]) -> bool:
    return all(bool(torch.isfinite(one).all()) for one in tensors)
