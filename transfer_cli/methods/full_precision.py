"""Losses in float32, whatever autocast says: bfloat16 keeps 8 bits, and float16 ends at 65504."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, ParamSpec

import torch
from torch import Tensor

P = ParamSpec("P")


def full_precision(loss: Callable[P, Tensor]) -> Callable[P, Tensor]:
    """`loss` with autocast off and each half-precision tensor it is given as float32; float64 stays float64."""

    @functools.wraps(loss)
    def run(*args: P.args, **kwargs: P.kwargs) -> Tensor:
        device = next(value.device.type for value in (*args, *kwargs.values()) if isinstance(value, Tensor))
        with torch.autocast(device, enabled=False):
            return loss(*map(_widened, args), **{name: _widened(value) for name, value in kwargs.items()})

    return run


def _widened(value: Any) -> Any:
    half = isinstance(value, Tensor) and value.dtype in (torch.float16, torch.bfloat16)
    return value.float() if half else value
