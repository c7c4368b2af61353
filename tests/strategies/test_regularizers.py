"""Regularisers on what a step of finetuning computes."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch

from tests.strategies.networks import batch, finetune, tiny, train
from transfer_cli.errors import UserError
from transfer_cli.methods.penalties import bss
from transfer_cli.strategies.finetune import Finetune
from transfer_cli.strategies.regularizers import Regularizer, Source, chosen_regularizers
from transfer_cli.strategies.trainable import stage_of


def ready(strategy: Finetune, source: Source | None = None, **blocks: dict[str, Any]) -> dict[str, Regularizer]:
    return chosen_regularizers(blocks).ready(strategy.trainable, source)


def loss_of(strategy: Finetune) -> torch.Tensor:
    """In eval mode, so that two passes over a batch see the same."""
    strategy.network.eval()
    return strategy(batch()).loss


def test_l2_sp_pulls_weights_to_their_start_and_the_head_to_zero() -> None:
    strategy = finetune(tiny(), 1)
    strategy.regularizers = ready(strategy, l2sp={"alpha": 0.5, "beta": 0.25})
    network, start = strategy.network, {n: p.detach().clone() for n, p in strategy.network.module.named_parameters()}
    train(strategy, 1)
    with_penalty = torch.autograd.grad(loss_of(strategy), [p for p in network.parameters() if p.requires_grad])
    strategy.regularizers = {}
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
    plain = strategy(batch())
    strategy.regularizers = ready(strategy, bss={"weight": 0.5, "k": 2})
    shrunk = strategy(batch())
    features = strategy.network.forward_to(len(strategy.network.stages) - 1, batch().inputs)
    torch.testing.assert_close(shrunk.loss - plain.loss, 0.5 * bss(features, 2))
    torch.testing.assert_close(shrunk.logits, plain.logits)


def test_delta_is_nothing_at_the_start_and_grows_as_features_leave() -> None:
    strategy = finetune(tiny(), 2)
    source = copy.deepcopy(strategy.network)
    before = {name: tensor.clone() for name, tensor in source.state_dict().items()}
    plain = loss_of(strategy).item()
    delta = {"weight": 1.0, "stages": ["layer3", "layer4"]}
    strategy.regularizers = ready(strategy, Source(source, lambda stages: {}), delta=delta)
    assert loss_of(strategy).item() == plain
    train(strategy, 1)
    with_penalty = loss_of(strategy).item()
    strategy.regularizers = {}
    assert with_penalty > loss_of(strategy).item()
    assert all(tensor.equal(before[name]) for name, tensor in source.state_dict().items())


def test_channels_count_by_their_attention() -> None:
    strategy = finetune(tiny(), 1)
    source = copy.deepcopy(strategy.network)
    train(strategy, 1)

    def loss(weights: dict[str, torch.Tensor]) -> float:
        delta = {"weight": 1.0, "stages": ["layer4"]}
        strategy.regularizers = ready(strategy, Source(source, lambda stages: weights), delta=delta)
        return loss_of(strategy).item()

    channels, uniform = 96, loss({})
    assert loss({"layer4": torch.full((channels,), 1 / channels)}) == uniform
    assert loss({"layer4": torch.eye(channels)[0]}) != uniform


def test_each_sees_its_own_features_alone() -> None:
    """BSS beside DELTA shrinks the features before the head, not the maps that DELTA compares."""
    strategy = finetune(tiny())
    strategy.network.eval()
    plain = strategy(batch()).loss
    source = Source(copy.deepcopy(strategy.network), lambda stages: {})
    strategy.regularizers = ready(strategy, bss={"weight": 0.5, "k": 2})
    alone = strategy(batch()).loss - plain
    delta = {"weight": 1.0, "stages": ["layer4"]}
    strategy.regularizers = ready(strategy, source, bss={"weight": 0.5, "k": 2}, delta=delta)
    together = strategy(batch())
    torch.testing.assert_close(together.loss - plain, alone)
    assert together.parts.keys() == {"objective", "bss", "delta"}
    torch.testing.assert_close(together.parts["bss"], alone)


@pytest.mark.parametrize(
    ("blocks", "says"),
    [
        ({"l2ps": {"alpha": 1.0}}, "l2sp"),
        ({"bss": {"weight": -1.0, "k": 1}}, "strategy.bss.weight=-1"),
        ({"delta": {"weight": 1.0}}, "strategy.delta.stages"),
    ],
)
def test_wrong_options_are_named(blocks: dict[str, dict[str, Any]], says: str) -> None:
    with pytest.raises(UserError, match=says):
        chosen_regularizers(blocks)
