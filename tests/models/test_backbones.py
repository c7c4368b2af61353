"""Backbones: those of conf/model and one of each other family build, report stages, and learn."""

from __future__ import annotations

import sys

import pytest
import torch
import yaml
from torch.nn import functional as F

from transfer_cli.command.source import conf_dir
from transfer_cli.errors import UserError
from transfer_cli.models import backbones, heads, stages_torchvision
from transfer_cli.models.network import Network
from transfer_cli.models.taps import default_pairs, embedding_stage, observe

NAMED = {
    file.stem: yaml.safe_load(file.read_text())["name"]
    for file in sorted((conf_dir() / "model").glob("*.yaml"))
    if file.stem not in ("torchvision", "timm")
}
WIDTHS = {
    "convnext_base": 1024,
    "convnext_tiny": 768,
    "densenet121": 1024,
    "efficientnet_b0": 1280,
    "efficientnet_b3": 1536,
    "efficientnet_lite0": 1280,
    "efficientnet_lite1": 1280,
    "efficientnet_lite2": 1280,
    "efficientnet_v2_s": 1280,
    "maxvit_t": 512,
    "mobilenet_v3_large": 1280,
    "mobilenet_v3_small": 1024,
    "regnet_y_400mf": 440,
    "resnet101": 2048,
    "resnet18": 512,
    "resnet34": 512,
    "resnet50": 2048,
    "resnext50": 2048,
    "swin_t": 768,
    "vit_b_16": 768,
    "vit_s_16": 384,
    "wide_resnet50_2": 2048,
}
OTHERS = [
    ("torchvision", "alexnet", 64),
    ("torchvision", "googlenet", 64),
    ("torchvision", "inception_v3", 96),
    ("torchvision", "mnasnet0_5", 64),
    ("torchvision", "mobilenet_v2", 64),
    ("torchvision", "shufflenet_v2_x0_5", 64),
    ("torchvision", "squeezenet1_1", 64),
    ("timm", "test_resnet", 64),
    ("timm", "test_efficientnet", 64),
    ("timm", "test_vit", 160),
    ("timm", "test_vit", 64),
    ("timm", "test_convnext", 64),
    ("timm", "test_nfnet", 64),
    ("timm", "mobilenetv3_small_050", 64),
    ("timm", "regnety_002", 64),
    ("timm", "densenet121", 64),
    ("timm", "swin_tiny_patch4_window7_224", 224),
    ("timm", "edgenext_xx_small", 64),
]


def stages_compose(network: Network, size: int) -> None:
    """Stages give exactly the plain model's logits, at any boundary, and own every tensor once."""
    network.eval()
    images = torch.rand(2, 3, size, size)
    with torch.no_grad():
        whole = network(images)
        for boundary in (1, len(network.stages) // 2, len(network.stages) - 1):
            assert torch.equal(network.forward_from(boundary, network.forward_to(boundary, images)), whole)
        if network.has_features:
            features = network.forward_to(len(network.stages) - 1, images)
            assert features.shape == (2, network.feature_width)
    assert network.stages[-1].name == "head"
    assert len({stage.name for stage in network.stages}) == len(network.stages)
    owners = [network.stage_of(name) for name in network.module.state_dict()]
    assert set(owners) >= {0, len(network.stages) - 1}


def test_they_are_all_options_of_model() -> None:
    assert sorted(NAMED) == sorted(WIDTHS)
    assert len(NAMED) == 22


@pytest.mark.parametrize("name", backbones.ALIASES)
def test_every_model_with_weights_in_a_package_is_an_option(name: str) -> None:
    assert NAMED[name] == name


LARGE = {"convnext_base", "maxvit_t", "wide_resnet50_2"}


@pytest.mark.parametrize(
    "option", [pytest.param(name, marks=[pytest.mark.slow] if name in LARGE else []) for name in sorted(WIDTHS)]
)
def test_named_backbone_builds_and_does_one_step(option: str) -> None:
    # BatchNorm over two samples of one pixel has gradients without bounds.
    size, batch = (224, 2) if option == "maxvit_t" else (32, 8)
    torch.manual_seed(0)
    network = backbones.build(NAMED[option], "auto", 7, size)
    assert network.feature_width == WIDTHS[option]
    assert len(network.stages) >= 6
    stages_compose(network, size)
    network.train()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01)
    before = [p.detach().clone() for p in network.parameters()]
    # Two steps: torchvision's ViT starts from a head of zeros, which lets no gradient through to the backbone.
    for _ in range(2):
        optimizer.zero_grad()
        loss = F.cross_entropy(network(torch.rand(batch, 3, size, size)), torch.arange(batch) % 7)
        loss.backward()
        optimizer.step()
    assert torch.isfinite(loss)
    moved = [not torch.equal(a, b) for a, b in zip(before, network.parameters(), strict=True)]
    assert sum(moved) > 0.8 * len(moved)


def test_all_but_squeezenet_have_features() -> None:
    without = [name for source, name, size in OTHERS if not backbones.build(name, source, 5, size).has_features]
    assert without == ["squeezenet1_1"]


@pytest.mark.parametrize(("source", "name", "size"), OTHERS)
def test_other_families_compose(source: str, name: str, size: int) -> None:
    network = backbones.build(name, source, 5, size)
    assert network(torch.rand(2, 3, size, size)).shape == (2, 5)
    stages_compose(network, size)


def test_the_state_dict_is_the_plain_architectures() -> None:
    import torchvision.models

    plain = torchvision.models.resnet18(num_classes=5)
    assert list(backbones.build("resnet18", "auto", 5, 64).module.state_dict()) == list(plain.state_dict())


def test_auto_prefers_torchvision_and_timm_can_be_asked_for() -> None:
    assert backbones.library("resnet18", "auto") == "torchvision"
    assert backbones.library("resnet18", "timm") == "timm"
    assert backbones.library("convnext_atto", "auto") == "timm"
    with pytest.raises(UserError, match=r"model.name=vit_b_61.*vit_b_16"):
        backbones.library("vit_b_61", "torchvision")


@pytest.mark.parametrize(("name", "size"), [("vit_b_16", 100), ("maxvit_t", 96), ("vgg11", 8)])
def test_a_size_the_model_cannot_take(name: str, size: int) -> None:
    with pytest.raises(UserError, match=f"image_size={size}: {name}"):
        backbones.build(name, "auto", 3, size)


def test_a_torchvision_family_that_is_not_known_trains_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model of a later torchvision: all of it is one stage, and what needs features says so."""
    monkeypatch.delitem(stages_torchvision.FAMILIES, "ResNet")
    network = backbones.build("resnet18", "torchvision", 5, 32)
    assert [stage.name for stage in network.stages] == ["head"]
    assert not network.has_features
    assert {network.stage_of(name) for name in network.module.state_dict()} == {0}
    network.eval()
    images = torch.rand(2, 3, 32, 32)
    assert torch.equal(network.forward_from(0, images), network(images))
    shapes = observe(network, 32)
    assert default_pairs(shapes, shapes) == ()
    with pytest.raises(UserError, match=r"strategy\.loss: this network has no stage before its head"):
        embedding_stage(shapes)
    with pytest.raises(UserError, match="no features"):
        heads.attach(network, heads.HeadSpec(width=512), 5)


def test_every_torchvision_model_has_a_family() -> None:
    """Each of torchvision's model files defines a class that we know how to cut."""
    from torchvision.models._api import get_model_builder

    files = {sys.modules[get_model_builder(name).__module__] for name in backbones.torchvision_names()}
    assert len(files) >= 17
    for file in files:
        classes = [getattr(file, family, None) for family in stages_torchvision.FAMILIES]
        assert any(getattr(one, "__module__", None) == file.__name__ for one in classes), file
