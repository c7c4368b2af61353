"""The average of weights: closed forms, exact swaps, untouched frozen parts."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from transfer_cli.methods.averaging import Average, decay_at


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2))


def fill(module: nn.Module, value: float) -> None:
    with torch.no_grad():
        for tensor in module.state_dict().values():
            tensor.fill_(value)


def test_decay_warms_up_to_its_value() -> None:
    assert [decay_at(step, 0.9) for step in (0, 1, 8)] == [0.1, 2 / 11, 0.5]
    assert decay_at(79, 0.9) == pytest.approx(80 / 89)
    assert decay_at(81, 0.9) == decay_at(10**6, 0.9) == 0.9


def test_closed_form_for_constant_weights() -> None:
    """From a to a constant w: after n updates the distance to w has shrunk by the product of the decays."""
    module = network()
    fill(module, 3.0)
    average = Average(module, decay=0.8)
    fill(module, 5.0)
    for step in range(6):
        average.update(module, step)
    left = math.prod(min(0.8, (1 + step) / (10 + step)) for step in range(6))
    expected = torch.full((4, 3, 3, 3), 5.0 - 2.0 * left)
    torch.testing.assert_close(average.tensors["0.weight"], expected)
    torch.testing.assert_close(average.tensors["1.running_var"], expected[0, 0, 0, 0].expand(4))


def test_closed_form_for_constant_updates() -> None:
    """Weights that grow by c a step: with a constant decay d the average trails by c d / (1 - d)."""
    module = nn.Linear(1, 1, bias=False).double()
    fill(module, 0.0)
    average = Average(module, decay=0.75)
    for step in range(26, 200):
        with torch.no_grad():
            module.weight += 0.01
        average.update(module, step)
    assert float(module.weight.detach() - average.tensors["weight"]) == pytest.approx(0.01 * 0.75 / 0.25)


def test_counters_are_copied_and_constant_tensors_keep_their_bits() -> None:
    module = network()
    average = Average(module, decay=0.9)
    frozen = module[0].weight.detach().clone()
    module.train()
    for step in range(7):
        module(torch.randn(2, 3, 3, 3))
        average.update(module, step)
    assert average.tensors["1.num_batches_tracked"] == 7
    assert torch.equal(average.tensors["0.weight"], frozen)
    assert not torch.equal(average.tensors["1.running_mean"], module[1].running_mean)


def test_swapped_evaluates_the_average_and_gives_everything_back() -> None:
    module = network()
    average = Average(module, decay=0.9)
    fill(module, 2.0)
    average.update(module, 0)
    raw = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    mean = {name: tensor.clone() for name, tensor in average.tensors.items()}

    def evaluation() -> None:
        with average.swapped(module):
            assert all(torch.equal(tensor, mean[name]) for name, tensor in module.state_dict().items())
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluation()
    assert all(torch.equal(tensor, raw[name]) for name, tensor in module.state_dict().items())
    assert all(torch.equal(tensor, mean[name]) for name, tensor in average.tensors.items())


def test_a_restored_average_goes_on_bit_for_bit() -> None:
    module = network().to(memory_format=torch.channels_last)
    average = Average(module, decay=0.9)
    fill(module, 2.0)
    average.update(module, 0)
    saved = {name: tensor.contiguous().clone() for name, tensor in average.tensors.items()}
    restored = Average(module, decay=0.9)
    restored.load(saved)
    fill(module, -1 / 3)
    average.update(module, 1)
    restored.update(module, 1)
    assert all(torch.equal(tensor, restored.tensors[name]) for name, tensor in average.tensors.items())
    assert restored.tensors["0.weight"].is_contiguous(memory_format=torch.channels_last)
