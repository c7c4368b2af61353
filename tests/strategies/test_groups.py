"""Parameter groups: rates multiply, nothing decays on biases and norms."""

from __future__ import annotations

import pytest

from tests.strategies.networks import SIZE, tiny
from transfer_cli.config.finetune import Unfreeze
from transfer_cli.engine.strategy import ParameterGroup
from transfer_cli.errors import UserError
from transfer_cli.models import backbones
from transfer_cli.strategies.groups import Rates, parameter_groups
from transfer_cli.strategies.trainable import selected, thawing


def groups(rates: Rates, unfreeze: Unfreeze = "all", gradual: int = 0) -> list[ParameterGroup]:
    network = tiny()
    return parameter_groups(thawing(network, selected(network, unfreeze, "train"), gradual=gradual, epochs=10), rates)


def multipliers(found: list[ParameterGroup]) -> dict[str, float]:
    return {name: group.lr_multiplier for group in found for name in group.parameters}


def test_every_parameter_is_in_one_group_and_only_weights_decay() -> None:
    found = groups(Rates())
    names = [name for group in found for name in group.parameters]
    assert sorted(names) == sorted(name for name, _ in tiny().module.named_parameters())
    assert len(names) == len(set(names))
    for group in found:
        assert all((p.ndim > 1) == group.decay for p in group.parameters.values())
    assert [group.stage for group in found if group.decay] == ["stem", "layer1", "layer2", "layer3", "layer4", "head"]


def test_rates_multiply() -> None:
    found = multipliers(groups(Rates(layer_decay=0.5, head=10, rules=[("layer4.0.conv1", 3), ("*.bias", 7)])))
    assert found["fc.weight"] == 10
    assert found["fc.bias"] == 70
    assert found["layer4.0.bn1.weight"] == 0.5
    assert found["layer4.0.bn1.bias"] == 0.5 * 7
    assert found["layer4.0.conv1.weight"] == 0.5 * 3
    assert found["layer3.0.conv1.weight"] == 0.25
    assert found["conv1.0.weight"] == 0.5**5


def test_a_group_knows_when_it_thaws() -> None:
    epochs = {group.stage: group.thaw_epoch for group in groups(Rates(), gradual=2)}
    # Of ten epochs, the tenth trains layer1; the stem would thaw in the eleventh.
    assert epochs == {"layer1": 8, "layer2": 6, "layer3": 4, "layer4": 2, "head": 0}


def test_rules_without_effect() -> None:
    with pytest.raises(UserError, match="layer9 matches no parameter"):
        groups(Rates(rules=[("layer9", 0.1)]))
    with pytest.raises(UserError, match="frozen"):
        groups(Rates(rules=[("layer3", 0.1)]), unfreeze=1)


@pytest.mark.parametrize(
    ("source", "name", "kept"),
    [
        ("timm", "test_vit", {"pos_embed", "cls_token"}),
        ("torchvision", "vit_b_16", {"class_token", "encoder.pos_embedding"}),
        ("timm", "test_vit_relpos", set()),
    ],
)
def test_tokens_and_places_do_not_decay(source: str, name: str, kept: set[str]) -> None:
    network = backbones.build(name, source, 3, image_size=SIZE if name != "test_vit_relpos" else 160)
    found = parameter_groups(thawing(network, selected(network, "all", "train"), gradual=0, epochs=1), Rates())
    decay = {name: group.decay for group in found for name in group.parameters}
    weights = {name for name, parameter in network.module.named_parameters() if parameter.ndim > 1}
    assert {name for name in weights if not decay[name]} == kept
    assert not any(decay[name] for name in decay.keys() - weights)
