"""Freezing: what must not move does not, for every way of saying what trains."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.strategies.networks import tiny, train
from transfer_cli.engine.objective import Objective
from transfer_cli.errors import UserError
from transfer_cli.models.network import Network
from transfer_cli.strategies.finetune import Finetune
from transfer_cli.strategies.trainable import Trainable, selected, stage_levels, thawing

EPOCHS = 3


def what(network: Network, unfreeze: Any = "all", batch_norm: Any = "train", gradual: int = 0) -> Trainable:
    return thawing(network, selected(network, unfreeze, batch_norm), gradual=gradual, epochs=EPOCHS)


def snapshot(network: Network) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in network.module.state_dict().items()}


def moved(network: Network, before: dict[str, torch.Tensor]) -> set[str]:
    return {name for name, tensor in network.module.state_dict().items() if not tensor.equal(before[name])}


# How it is said, and beginnings of the names of what may move.
POLICIES: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "head": ({"unfreeze": "head"}, ("fc",)),
    "one stage": ({"unfreeze": 1}, ("layer4", "fc")),
    "two stages": ({"unfreeze": 2}, ("layer3", "layer4", "fc")),
    "a pattern": ({"unfreeze": ("layer2.0.conv1",)}, ("layer2.0.conv1", "fc")),
    "biases": ({"unfreeze": ("*.bias",)}, ("conv1", "bn1", "layer", "fc")),
    "gradual": ({"gradual": 1}, ("layer3", "layer4", "fc")),
    "slowly": ({"gradual": 2, "unfreeze": 2}, ("layer4", "fc")),
}


@pytest.mark.parametrize(("policy", "may_move"), POLICIES.values(), ids=POLICIES.keys())
@pytest.mark.parametrize("batch_norm", ["train", "frozen"])
def test_frozen_parts_are_byte_equal_after_training(
    policy: dict[str, Any], may_move: tuple[str, ...], batch_norm: str
) -> None:
    network = tiny()
    training = what(network, **policy, batch_norm=batch_norm)
    before = snapshot(network)
    train(Finetune(training, Objective()), EPOCHS)
    changed = moved(network, before)
    parameters = {name for name, _ in network.module.named_parameters()}
    assert changed & parameters == training.names
    assert all(name.startswith(may_move) for name in changed)
    norms = {name for name in before if "running" in name or "num_batches" in name}
    if batch_norm == "frozen":
        assert not changed & norms
    else:
        # A BatchNorm moves its statistics exactly where its weight or bias trains.
        owners = {name.rpartition(".")[0] for name in training.names}
        assert changed & norms == {name for name in norms if name.rpartition(".")[0] in owners}


def test_all_but_frozen_batch_norm_trains() -> None:
    network = tiny()
    names = what(network, batch_norm="frozen").names
    assert len(names) > 10
    assert not any(".bn" in name or name.startswith("bn") for name in names)


def test_pool_is_no_stage_of_its_own() -> None:
    network = tiny()
    assert [stage.name for stage in network.stages] == ["stem", "layer1", "layer2", "layer3", "layer4", "pool", "head"]
    assert stage_levels(network) == [0, 1, 2, 3, 4, 4, 5]
    assert network.stages[what(network, 1).boundary].name == "layer4"
    assert what(network, "head").boundary == 6
    assert what(network, 5).names == what(network, "all").names


def test_the_norm_before_the_head_of_a_vit_trains_with_the_top_block() -> None:
    names = what(tiny("test_vit"), 1).names
    assert {"norm.weight", "norm.bias"} <= names
    assert not any(name.startswith("blocks.0.") for name in names)


def test_what_trains_is_a_function_of_the_epoch_alone() -> None:
    """Asked for in any order, and of any network, an epoch has the same gradients and modes."""
    one, other = tiny(), tiny()
    first, second = what(one, 3, gradual=1), what(other, 3, gradual=1)
    seen = {}
    for epoch in range(EPOCHS):
        first.apply(epoch)
        seen[epoch] = state(one)
    for epoch in (2, 0, 1):
        second.apply(epoch)
        assert state(other) == seen[epoch]
    first.apply(1)
    training = {name for name, p in one.module.named_parameters() if p.requires_grad}
    assert training == {name for name in first.names if name.startswith(("layer4", "fc"))}
    assert [first.boundary_at(epoch) for epoch in range(5)] == [6, 4, 3, 3, 3]
    assert [first.thaw_epoch(stage) for stage in (3, 4, 5, 6)] == [2, 1, 1, 0]


def state(network: Network) -> tuple[list[bool], list[bool]]:
    return [p.requires_grad for p in network.parameters()], [m.training for m in network.module.modules()]


def test_a_stage_that_thaws_after_the_last_epoch_never_trains() -> None:
    training = what(tiny(), gradual=1)
    assert training.boundary == 3
    assert not any(name.startswith("layer2") for name in training.names)


def test_wrong_names() -> None:
    with pytest.raises(UserError, match="layer5"):
        what(tiny(), ("layer5",))
    with pytest.raises(UserError, match="5 stages below its head"):
        what(tiny(), 6)
