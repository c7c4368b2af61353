"""Projections between feature shapes."""

from __future__ import annotations

import pytest
import torch

from transfer_cli.methods.distill.projections import Projections


@pytest.mark.parametrize("positions", [(), (7,), (3, 4)], ids=["vectors", "tokens", "maps"])
def test_one_affine_map_of_channels_alike_at_all_positions(positions: tuple[int, ...]) -> None:
    projections = Projections([((9, *positions), (2, *positions)), ((4, *positions), (6, *positions))])
    features = torch.randn(2, 4, *positions)
    layer = projections.layers[1]
    expected = torch.einsum("oc,bc...->bo...", layer.weight.flatten(1), features)
    expected += layer.bias.view(1, 6, *[1] * len(positions))
    torch.testing.assert_close(projections(1, features), expected)
    assert sum(p.numel() for p in projections.parameters()) == 9 * 2 + 2 + 4 * 6 + 6
