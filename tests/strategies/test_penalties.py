"""Penalties on what a step of finetuning sees."""

from __future__ import annotations

import copy

import torch

from tests.strategies.networks import batch, finetune, tiny, train
from transfer_cli.methods.regularizers import bss
from transfer_cli.strategies.finetune import Finetune
from transfer_cli.strategies.penalties import Bss, Delta, L2Sp
from transfer_cli.strategies.trainable import stage_of


def loss_of(strategy: Finetune) -> torch.Tensor:
    """In eval mode, so that two passes over a batch see the same."""
    strategy.network.eval()
    return strategy.step(batch()).loss


def test_l2_sp_pulls_weights_to_their_start_and_the_head_to_zero() -> None:
    strategy = finetune(tiny(), 1)
    strategy.penalties = [L2Sp(strategy.trainable, alpha=0.5, beta=0.25)]
    network, start = strategy.network, {n: p.detach().clone() for n, p in strategy.network.module.named_parameters()}
    train(strategy, 1)
    with_penalty = torch.autograd.grad(loss_of(strategy), [p for p in network.parameters() if p.requires_grad])
    strategy.penalties = []
    without = torch.autograd.grad(loss_of(strategy), [p for p in network.parameters() if p.requires_grad])
    names = [name for name, p in network.module.named_parameters() if p.requires_grad]
    assert any(name.startswith("layer4") for name in names)
    for name, one, other in zip(names, with_penalty, without, strict=True):
        value = network.module.get_parameter(name).detach()
        head = stage_of(network, name) == len(network.stages) - 1
        expected = 0.25 * value if head else 0.5 * (value - start[name])
        torch.testing.assert_close(one - other, expected, rtol=1e-3, atol=1e-5)


def test_bss_looks_at_the_features_before_the_head() -> None:
    strategy = finetune(tiny())
    strategy.network.eval()
    plain = strategy.step(batch())
    strategy.penalties = [Bss(weight=0.5, k=2)]
    shrunk = strategy.step(batch())
    features = strategy.network.forward_to(len(strategy.network.stages) - 1, batch().inputs)
    torch.testing.assert_close(shrunk.loss - plain.loss, 0.5 * bss(features, 2))
    torch.testing.assert_close(shrunk.logits, plain.logits)


def test_delta_is_nothing_at_the_start_and_grows_as_features_leave() -> None:
    strategy = finetune(tiny(), 2)
    source = copy.deepcopy(strategy.network)
    before = {name: tensor.clone() for name, tensor in source.state_dict().items()}
    delta = Delta(1.0, ("layer3", "layer4"), source)
    plain = loss_of(strategy).item()
    strategy.penalties = [delta]
    assert loss_of(strategy).item() == plain
    train(strategy, 1)
    with_penalty = loss_of(strategy).item()
    strategy.penalties = []
    assert with_penalty > loss_of(strategy).item()
    assert all(tensor.equal(before[name]) for name, tensor in source.state_dict().items())


def test_channels_count_by_their_attention() -> None:
    strategy = finetune(tiny(), 1)
    delta = Delta(1.0, ("layer4",), copy.deepcopy(strategy.network))
    train(strategy, 1)
    strategy.penalties = [delta]
    uniform = loss_of(strategy).item()
    channels = 96
    delta.attention = {"layer4": torch.full((channels,), 1 / channels)}
    assert loss_of(strategy).item() == uniform
    delta.attention = {"layer4": torch.eye(channels)[0]}
    assert loss_of(strategy).item() != uniform
