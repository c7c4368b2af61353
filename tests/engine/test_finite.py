"""The first module whose numbers are not finite."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from transfer_cli.engine.finite import gradients, not_finite, watched


class Division(nn.Module):
    """0 divided by 0."""

    def forward(self, x: Tensor) -> Tensor:
        return x / (x - x)


def test_only_the_module_that_begins_it_is_named() -> None:
    module = nn.Sequential(nn.Linear(2, 2), Division(), nn.Linear(2, 2))
    with watched(module) as found:
        module(torch.ones(1, 2)).sum().backward()
    assert found.broken == ["1"]
    assert set(found.largest) == {"0", "1", "2"}
    assert "0.weight" in not_finite(gradients(module))
    assert not_finite({"a": torch.tensor([1.0, math.inf]), "b": torch.ones(2), "c": torch.tensor(3)}) == ["a"]


def test_nothing_is_watched_afterwards() -> None:
    module = nn.Sequential(Division())
    with watched(module) as found:
        pass
    module(torch.ones(1))
    assert found.broken == []
