"""The host's look at a step: what it makes of the gradients."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from transfer_cli.engine.steps.check import Moment, Past, clip_and_check

MOMENT = Moment(step=0, epoch=1, rate=0.1, own=torch.arange(2))


def checked(clip_grad: float | None) -> tuple[nn.Parameter, int, Past]:
    """A weight with the gradient (3, 4), how often that had been written before, and what the check has learnt."""
    weight = nn.Parameter(torch.zeros(2))
    weight.grad = torch.tensor([3.0, 4.0])
    written, past = weight.grad._version, Past()
    optimizer, scaler = torch.optim.SGD([weight], 0.1), torch.amp.GradScaler("cpu", enabled=False)
    assert clip_and_check(optimizer, scaler, clip_grad, torch.tensor(1.5), past, MOMENT)
    return weight, written, past


def test_a_gradient_without_a_limit_is_read_and_not_written() -> None:
    weight, written, past = checked(None)
    assert weight.grad is not None and weight.grad._version == written
    assert past.losses == [1.5]


def test_a_gradient_beyond_the_limit_is_scaled_to_it() -> None:
    weight, _, _ = checked(1.0)
    assert weight.grad is not None
    assert weight.grad.tolist() == pytest.approx([0.6, 0.8], abs=1e-5)
