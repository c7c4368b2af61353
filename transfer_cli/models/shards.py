"""Tensors of which each rank has a part (torch's DTensor), beside plain ones: each function takes both.

A DTensor is known by its methods: its module takes a while to import, and few runs need it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor


def local(tensor: Tensor) -> Tensor:
    """This rank's part, in the same memory."""
    part: Tensor = tensor.to_local() if _is_shared(tensor) else tensor  # type: ignore[attr-defined]
    return part


def whole(tensor: Tensor) -> Tensor:
    """All of it, on every rank; all of them must ask."""
    full: Tensor = tensor.full_tensor() if _is_shared(tensor) else tensor  # type: ignore[attr-defined]
    return full


def gathered(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """All of each, on the host of the first rank and nowhere else; all ranks must ask. Plain ones are as they were."""
    found = {}
    for name, tensor in tensors.items():
        if not _is_shared(tensor):
            found[name] = tensor
            continue
        # One after another: the device never has room for more than one.
        full, is_first = whole(tensor.detach()), tensor.device_mesh.get_rank() == 0  # type: ignore[attr-defined]
        found[name] = on_host(full) if is_first else full.new_empty(0)
    return found


def like(full: Tensor, own: Tensor | None) -> Tensor:
    """`full` as `own` is: shared out over the same ranks, of which each has all of it, or as it is."""
    if own is None or not _is_shared(own) or _is_shared(full):
        return full
    from torch.distributed.tensor import distribute_tensor

    there: Any = own
    return distribute_tensor(full.to(own.device), there.device_mesh, there.placements, src_data_rank=None)


@torch.no_grad()
def put(full: Tensor, into: Tensor) -> Tensor:
    """Copy all of `full`, which each rank has, into a tensor of the same shape; returns that."""
    local(into).copy_(local(like(full, into)))
    return into


def on_host(tensor: Tensor, *, wait: bool = True) -> Tensor:
    """As it is; from a GPU a copy in pinned memory, which is there now, or when the device has come so far."""
    if tensor.device.type != "cuda":
        return tensor
    return torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True).copy_(tensor, non_blocking=not wait)


def _is_shared(tensor: Tensor) -> bool:
    return hasattr(tensor, "full_tensor")
