"""Training that leaves no trace: for measurements, such as the range test, on the network that will be trained."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


@contextmanager
def untouched(module: nn.Module) -> Iterator[None]:
    """Within, train `module` at will; afterwards its tensors, modes and torch's generators are what they were.

    Bit for bit, also when training fails. No gradients are left.
    """
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    modes = {part: part.training for part in module.modules()}
    device = next(module.parameters()).device
    try:
        with torch.random.fork_rng([device] if device.type == "cuda" else [], device_type=device.type):
            yield
    finally:
        with torch.no_grad():
            for name, tensor in module.state_dict().items():
                tensor.copy_(before[name])
        for part, training in modes.items():
            part.training = training
        module.zero_grad(set_to_none=True)
