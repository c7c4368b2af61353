"""BatchNorm over all ranks, of one: what torch's own makes of the same samples."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from transfer_cli.engine.ranks.batch_norm import SyncedBatchNorm
from transfer_cli.engine.ranks.world import ALONE


def passed(layer: nn.Module, images: Tensor) -> tuple[Tensor, Tensor]:
    """Outputs, and what a loss gives the inputs."""
    images = images.clone().requires_grad_()
    outputs = layer(images)
    outputs.float().square().mul(torch.linspace(-1, 1, outputs.numel()).view_as(outputs)).sum().backward()
    assert images.grad is not None
    return outputs.detach(), images.grad


@pytest.mark.parametrize(("dtype", "within"), [(torch.float64, 1e-12), (torch.float32, 1e-4), (torch.bfloat16, 0.02)])
def test_it_is_torchs_own_in_every_precision(dtype: torch.dtype, within: float) -> None:
    """Far from zero a sum in half precision would know nothing of the variance."""
    images = (100 + torch.randn(6, 4, 5, 5, generator=torch.Generator().manual_seed(0))).to(dtype)
    ours, theirs = (nn.BatchNorm2d(4, dtype=torch.float64 if dtype == torch.float64 else None) for _ in range(2))
    expected = passed(theirs, images.double() if dtype == torch.float64 else images.float())
    with SyncedBatchNorm(ALONE, counts=True):
        found = passed(ours, images)
    assert found[0].dtype == found[1].dtype == dtype
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one.to(other.dtype), other, rtol=within, atol=within)
    for name, tensor in ours.state_dict().items():
        torch.testing.assert_close(tensor, theirs.state_dict()[name], rtol=1e-5, atol=1e-5)
