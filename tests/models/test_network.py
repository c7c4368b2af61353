"""What a frozen part makes of an image hangs on nothing else in its batch."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from transfer_cli.models.network import STEADY_ROWS, run_frozen


@pytest.mark.parametrize("count", [1, 5, 31, 33, 40, 63])
def test_the_last_rows_are_rounded_like_all_others(count: int) -> None:
    inputs = torch.randn(64, 10, generator=torch.Generator().manual_seed(count))
    whole = run_frozen(torch.sigmoid, inputs)
    assert torch.equal(run_frozen(torch.sigmoid, inputs[-count:]), whole[-count:])


@pytest.mark.parametrize(("count", "seen"), [(0, 0), (1, 32), (31, 32), (32, 32), (33, 64), (64, 64), (70, 96)])
def test_a_batch_is_padded_to_whole_multiples(count: int, seen: int) -> None:
    def forward(inputs: Tensor) -> Tensor:
        assert len(inputs) == seen
        return 2 * inputs

    images = torch.rand(count, 3, 4, 4)
    assert seen % STEADY_ROWS == 0
    assert torch.equal(run_frozen(forward, images), 2 * images)
