"""Adapters in place of weights: nothing changes at the start, weights never move, few parameters train."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.strategies.networks import batch, tiny, train
from transfer_cli.engine.objective import Objective
from transfer_cli.errors import UserError
from transfer_cli.methods.adapters import is_adapter, is_bias, plain_name
from transfer_cli.strategies.adapting import adapt
from transfer_cli.strategies.finetune import Finetune
from transfer_cli.strategies.groups import Rates, parameter_groups
from transfer_cli.strategies.trainable import selected, thawing

RANK = 2


def adapted(kind: Any, unfreeze: Any = "all", name: str = "test_resnet") -> Finetune:
    network = tiny(name)
    names = adapt(network, selected(network, unfreeze, "train"), kind, RANK, 4.0)
    return Finetune(thawing(network, names, gradual=0, epochs=1), Objective())


@pytest.mark.parametrize("name", ["test_resnet", "test_vit"])
@pytest.mark.parametrize("kind", ["lora", "linear", "bitfit"])
def test_logits_are_equal_at_step_0_and_only_adapters_and_head_move(kind: str, name: str) -> None:
    plain = tiny(name).eval()
    strategy = adapted(kind, name=name)
    network = strategy.network.eval()
    assert network(batch().inputs).equal(plain(batch().inputs))
    before = {key: tensor.clone() for key, tensor in network.module.state_dict().items()}
    train(strategy, 1)
    moved = {key for key, tensor in network.module.state_dict().items() if not tensor.equal(before[key])}
    norms = {key for key in moved if "running" in key or "num_batches" in key}
    assert moved - norms == strategy.trainable.names
    if kind != "bitfit":
        assert not norms
    allowed = is_bias if kind == "bitfit" else is_adapter
    assert all(allowed(key) or key.startswith(("fc.", "head.")) for key in strategy.trainable.names)


def test_lora_trains_as_many_parameters_as_computed_by_hand() -> None:
    """r (out + in * kernel) for each kernel of layer4 that this makes smaller, and the head."""
    strategy = adapted("lora", 1)
    network = strategy.network.module
    originals = "parametrizations.weight.original"
    kernels = [(plain_name(name), p) for name, p in network.named_parameters() if name.endswith(originals)]
    assert all(name.startswith("layer4") for name, _ in kernels)
    by_hand = sum(RANK * (len(p) + p[0].numel()) for _, p in kernels) + sum(p.numel() for p in network.fc.parameters())
    strategy.train_mode(0)
    assert sum(p.numel() for p in network.parameters() if p.requires_grad) == by_hand
    assert len(kernels) == 3


def test_groups_know_the_stage_of_an_adapter() -> None:
    stages = {group.stage for group in parameter_groups(adapted("lora", 2).trainable, Rates())}
    assert stages == {"layer3", "layer4", "head"}


def test_nothing_to_adapt() -> None:
    network = tiny()
    with pytest.raises(UserError, match="adapter_rank"):
        adapt(network, selected(network, 1, "train"), "lora", 1000, 1.0)
    with pytest.raises(UserError, match="nothing that strategy"):
        adapt(network, selected(network, 1, "frozen") - {"fc.bias"}, "bitfit", 1, 1.0)


def test_no_adapter_is_what_was_selected() -> None:
    network = tiny()
    names = selected(network, 1, "train")
    assert adapt(network, names, "none", 1, 1.0) == names
    assert torch.nn.utils.parametrize.is_parametrized(network.module.layer4[0].conv1) is False
