"""Heat is where the class comes from, for maps and for tokens."""

from __future__ import annotations

import torch
from torch import Tensor

from transfer_cli.methods.attribution import as_activations, as_maps, grad_cam


def test_heat_is_where_the_channel_of_the_class_is() -> None:
    maps = torch.zeros(1, 2, 4, 4)
    maps[0, 0, 1, 2] = 3.0
    maps[0, 1, 3, 0] = 5.0

    def logits(found: Tensor) -> Tensor:
        return found.mean((2, 3)) @ torch.tensor([[1.0, -1.0], [-1.0, 1.0]])

    for label, place in ((0, (1, 2)), (1, (3, 0))):
        heat = grad_cam(maps, logits, torch.tensor([label]))[0]
        assert heat.argmax() == place[0] * 4 + place[1]
        assert heat.max() == 1 and (heat > 0).sum() == 1, "what speaks against the class is cold"


def test_nothing_speaks_for_a_class_of_a_constant_head() -> None:
    heat = grad_cam(torch.ones(2, 3, 4, 4), lambda maps: 0 * maps.mean((2, 3)), torch.tensor([0, 1]))
    assert heat.shape == (2, 4, 4) and not heat.any()


def test_tokens_are_maps_and_back() -> None:
    tokens = torch.arange(2 * 10 * 3.0).reshape(2, 10, 3)
    maps = as_maps(tokens, 1, channels_last=False)
    assert maps is not None and maps.shape == (2, 3, 3, 3)
    assert maps[0, :, 0, 1].tolist() == tokens[0, 2].tolist()
    assert torch.equal(as_activations(maps, tokens, 1, channels_last=False), tokens)
    images = torch.rand(2, 4, 4, 5)
    maps = as_maps(images, 0, channels_last=True)
    assert maps is not None and maps.shape == (2, 5, 4, 4)
    assert torch.equal(as_activations(maps, images, 0, channels_last=True), images)
    assert as_maps(tokens, 0, channels_last=False) is None, "ten are no square"
    assert as_maps(torch.rand(2, 7), 0, channels_last=False) is None
