"""What is trained inside is as before outside."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from transfer_cli.engine.measured.range_test import untouched


def diverge(module: nn.Module) -> None:
    """Train until nothing is finite, then fail."""
    with untouched(module):
        module.train()
        optimizer = torch.optim.SGD(module.parameters(), lr=1e20, momentum=0.9)
        for _ in range(3):
            optimizer.zero_grad()
            module(torch.randn(4, 3, 5, 5)).square().mean().backward()
            optimizer.step()
        assert not all(p.isfinite().all() for p in module.parameters())
        raise FloatingPointError


def test_weights_statistics_modes_and_noise_come_back_exactly() -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5), nn.Flatten(), nn.Linear(36, 2))
    module.train()
    module[1].eval()
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    modes = [part.training for part in module.modules()]
    noise = torch.get_rng_state()
    with pytest.raises(FloatingPointError):
        diverge(module)
    assert all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())
    assert [part.training for part in module.modules()] == modes
    assert all(p.grad is None for p in module.parameters())
    assert torch.equal(torch.get_rng_state(), noise)
