"""What is computed in float32, whatever precision a network runs at: losses, solvers, what adapters become.

bfloat16 keeps 8 bits and float16 ends at 65504; TF32, in which a GPU may multiply float32, keeps 11 bits of a factor.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal, ParamSpec

import torch
from torch import Tensor

P = ParamSpec("P")


Products = Literal["ieee", "tf32"]
"""How a GPU multiplies float32: as IEEE 754 says, or TF32."""


def set_products(kind: Products) -> None:
    """From now on, in matrices and convolutions. Torch forbids to mix this with its older names for the same."""
    torch.backends.cuda.matmul.fp32_precision = kind
    torch.backends.cudnn.fp32_precision = kind
    torch.backends.cudnn.conv.fp32_precision = kind  # type: ignore[attr-defined]
    torch.backends.cudnn.rnn.fp32_precision = kind  # type: ignore[attr-defined]


def are_tf32() -> bool:
    """Whether products are rounded so now. A compiled program is what it was compiled as."""
    if torch.compiler.is_compiling():
        return False
    return bool(torch.backends.cuda.matmul.fp32_precision == "tf32")


@contextmanager
def products(kind: Products) -> Iterator[None]:
    """Within, as `kind` says. Backward passes compute as things are while they run."""
    before: Products = "tf32" if are_tf32() else "ieee"
    set_products(kind)
    try:
        yield
    finally:
        set_products(before)


@contextmanager
def float32(device: str) -> Iterator[None]:
    """Within, nothing on a device of this type is rounded to less."""
    with torch.autocast(device, enabled=False):
        if not are_tf32():
            yield
            return
        with products("ieee"):
            yield


def full_precision(loss: Callable[P, Tensor]) -> Callable[P, Tensor]:
    """`loss` in float32, half-precision tensors that it is given included; float64 stays float64."""

    @functools.wraps(loss)
    def run(*args: P.args, **kwargs: P.kwargs) -> Tensor:
        device = next(value.device.type for value in (*args, *kwargs.values()) if isinstance(value, Tensor))
        with float32(device):
            return loss(*map(_widened, args), **{name: _widened(value) for name, value in kwargs.items()})

    return run


def _widened(value: Any) -> Any:
    half = isinstance(value, Tensor) and value.dtype in (torch.float16, torch.bfloat16)
    return value.float() if half else value
