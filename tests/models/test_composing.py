"""Stages compose to the network, for a member of every family; one whose stages do not is cut more coarsely."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from tests.models.families import QUICK, SLOW, WITHOUT_FEATURES
from transfer_cli.errors import UserError
from transfer_cli.models import backbones, stages_timm, stages_torchvision, weights
from transfer_cli.models.heads import HeadSpec, attach
from transfer_cli.models.network import Cut, Network, Stage, chain
from transfer_cli.models.staging import SeenCuts
from transfer_cli.models.tensors import write_tensors
from transfer_cli.strategies.trainable import selected

CLASSES = 5


def build(name: str, size: int, source: str = "timm", seen: SeenCuts | None = None) -> Network:
    torch.manual_seed(0)
    return backbones.build(name, source, CLASSES, size, seen=seen or SeenCuts())


class Untried(SeenCuts):
    """Knows of every network that its finest cut composes, so that a test finds out for itself."""

    def find(self, network: str, image_size: int) -> int | None:
        return 0


@torch.no_grad()
def shake(module: nn.Module) -> None:
    """No layer does nothing: statistics, scales and shifts are random, and no matrix is zero."""
    for tensor in (*module.parameters(), *module.buffers()):
        if tensor.is_floating_point() and tensor.ndim == 1:
            tensor.add_(0.3 * torch.rand_like(tensor))
        elif tensor.is_floating_point() and not tensor.any():
            tensor.normal_(std=0.05)


def same(found: Tensor, wanted: Tensor) -> bool:
    scale = float(wanted.abs().max())
    return found.shape == wanted.shape and torch.allclose(found / scale, wanted / scale, rtol=0, atol=1e-5)


@torch.no_grad()
def composes(network: Network, size: int) -> None:
    """By numbers, in evaluation and in training; every tensor belongs to one stage."""
    shake(network.module)
    images = torch.rand(2, 3, size, size)
    for training in (False, True):
        network.train(training)
        torch.manual_seed(1)
        wanted = network.module(images)
        torch.manual_seed(1)
        assert same(network.forward_from(0, images), wanted), f"training={training}"
    network.eval()
    if network.has_features:
        features = network.forward_to(len(network.stages) - 1, images)
        assert features.shape == (2, network.feature_width)
        layer = network.linear_head()
        assert same(features @ layer["weight"].T + layer.get("bias", torch.zeros(CLASSES)), network(images))
    assert len({network.stage_of(name) for name in network.module.state_dict()}) == len(
        [stage for stage in network.stages if stage.modules]
    )


@pytest.mark.parametrize(("source", "name", "size"), QUICK)
def test_a_sample_of_families(source: str, name: str, size: int) -> None:
    network = build(name, size, source, Untried())
    composes(network, size)
    assert network.has_features == (name not in WITHOUT_FEATURES)


@pytest.mark.slow
@pytest.mark.parametrize(("source", "name", "size"), SLOW)
def test_every_other_family(source: str, name: str, size: int) -> None:
    network = build(name, size, source, Untried())
    composes(network, size)
    assert network.has_features == (name not in WITHOUT_FEATURES)


def test_they_are_all_families() -> None:
    """Each file of timm and torchvision that defines models; a new one wants a member in the list."""
    import sys

    from timm.models import _registry
    from torchvision.models._api import get_model_builder

    listed = {(source, name) for source, name, _ in (*QUICK, *SLOW)}
    files = {name: file for file, names in _registry._module_to_models.items() for name in names}
    assert {files[name] for source, name in listed if source == "timm"} == set(_registry._module_to_models)
    theirs = {name: sys.modules[get_model_builder(name).__module__] for name in backbones.torchvision_names()}
    assert {theirs[name] for source, name in listed if source == "torchvision"} == set(theirs.values())


def test_a_network_that_differs_is_cut_more_coarsely_and_says_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As if a later timm put a stage between two of ours."""

    def forgets(module: nn.Module) -> Cut:
        cut = stages_timm._resnet(module)
        return Cut((cut.stages[0], Stage("layer1", ("layer1",), lambda m, x: x), *cut.stages[2:]), cut.feature_width)

    monkeypatch.setitem(stages_timm.FAMILIES, "ResNet", forgets)
    seen = SeenCuts(tmp_path)
    network = build("test_resnet", 64, seen=seen)
    assert [stage.name for stage in network.stages] == ["backbone", "pool", "head"]
    assert network.note is not None
    assert "test_resnet: its usual stages do not compute what it computes" in network.note
    composes(network, 64)
    assert not [*tmp_path.iterdir()]
    seen.keep()
    [remembered] = tmp_path.glob("*.json")
    assert json.loads(remembered.read_text())["cut"] == 1


def test_one_whose_features_differ_too_runs_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second head behind the first, as VOLO has one."""
    network = build("test_resnet", 64)

    def forward(images: Tensor) -> Tensor:
        return 2 * network.forward_from(0, images)

    monkeypatch.setattr(network.module, "forward", forward)
    monkeypatch.setattr(backbones, "_timm", lambda *_: network.module)
    monkeypatch.setattr("copy.deepcopy", lambda module: module)
    whole = build("test_resnet", 64)
    assert [stage.name for stage in whole.stages] == ["head"]
    assert not whole.has_features
    assert whole.note is not None and whole.note.endswith("it is run whole")


def test_a_dropout_that_is_lost_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """As googlenet's was, between pooling and classifier."""
    family = stages_torchvision._inception

    def forgets(module: nn.Module) -> list[Stage]:
        *body, _ = family(module)
        return [*body, Stage("head", ("dropout", "fc"), chain("fc"))]

    monkeypatch.setitem(stages_torchvision.FAMILIES, "GoogLeNet", forgets)
    assert build("googlenet", 64, "torchvision").note == (
        "googlenet: its usual stages do not compute what it computes in this version of its library; it is run whole"
    )


def test_it_is_compared_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    seen = SeenCuts(tmp_path)
    first = build("test_resnet", 64, seen=seen)
    seen.keep()

    def fail(*_: object) -> None:
        raise AssertionError("compared again")

    monkeypatch.setattr(backbones, "finest", fail)
    again = build("test_resnet", 64, seen=SeenCuts(tmp_path))
    assert [stage.name for stage in again.stages] == [stage.name for stage in first.stages]
    with pytest.raises(UserError, match="compared again"):
        build("test_resnet", 32, seen=SeenCuts(tmp_path))


def test_comparing_draws_no_random_numbers(tmp_path: Path) -> None:
    seen, drawn = SeenCuts(tmp_path), []
    for _ in range(2):
        network = build("test_resnet", 64, seen=seen)
        drawn.append((torch.rand(3).tolist(), network.module.state_dict()["fc.weight"].sum().item()))
    assert drawn[0] == drawn[1]


@pytest.mark.parametrize(
    "name", ["shvit_s1", "efficientvit_m0", "levit_128s", "repvit_m1", "iformer_t", "cpubone_nano"]
)
def test_training_the_head_moves_no_batch_norm(name: str) -> None:
    network = build(name, 224 if name in ("efficientvit_m0", "levit_128s") else 64, seen=Untried())
    layers = dict(network.module.named_modules())
    trained = {type(layers[name.rpartition(".")[0]]).__name__ for name in selected(network, "head", "train")}
    assert trained == {"Linear"}


# One linear layer behind a BatchNorm, a convolution, two classifiers on two tokens, on the same features, behind a
# BatchNorm each, and one for each branch.
HEADS = [
    ("shvit_s1", 64),
    ("resnetv2_18", 64),
    ("deit_tiny_distilled_patch16_224", 32),
    ("swiftformer_xs", 224),
    ("repvit_m1", 64),
]


@pytest.mark.parametrize(("name", "size"), HEADS)
@torch.no_grad()
def test_another_head_makes_the_logits_alone(name: str, size: int) -> None:
    network = build(name, size, seen=Untried())
    shake(network.module)
    images = torch.rand(2, 3, size, size)
    wanted, layer = network(images), network.linear_head()
    replaced = attach(network, HeadSpec("probe", network.feature_width), CLASSES)
    replaced.module.get_submodule(replaced.classifier).load_state_dict(layer)
    replaced.eval()
    assert same(replaced(images), wanted)
    assert same(replaced.forward_from(0, images), wanted)
    replaced.quiet_head()
    assert not replaced(images).any()


@pytest.mark.parametrize(("name", "size"), HEADS)
@torch.no_grad()
def test_a_quiet_head_is_quiet(name: str, size: int) -> None:
    network = build(name, size, seen=Untried())
    shake(network.module)
    network.quiet_head()
    assert not network(torch.rand(2, 3, size, size)).any()


@pytest.mark.parametrize("name", ["googlenet", "mobilenet_v3_small"])
@torch.no_grad()
def test_dropout_stays_in_front_of_another_head(name: str) -> None:
    network = build(name, 64, "torchvision", Untried())
    replaced = attach(network, HeadSpec("probe", network.feature_width), CLASSES).train()
    torch.nn.init.normal_(replaced.module.get_submodule(replaced.classifier).weight)  # type: ignore[arg-type]
    composes(replaced, 64)


def test_tensors_under_two_names_are_saved_under_both(tmp_path: Path) -> None:
    """CoaT's position encodings belong to several of its blocks."""
    shared = nn.Linear(3, 3)
    module = nn.ModuleDict({"a": shared, "b": shared})
    write_tensors(tmp_path / "t.safetensors", module.state_dict())
    found = load_file(tmp_path / "t.safetensors")
    assert sorted(found) == ["a.bias", "a.weight", "b.bias", "b.weight"]
    assert found["b.weight"].equal(shared.weight)


def test_tied_tensors_have_a_stage_under_every_name() -> None:
    shared = nn.Linear(3, 3)
    module = nn.ModuleDict({"a": shared, "b": shared})
    network = Network(module, Cut((Stage("body", ("a", "b"), chain("a", "b")),), 3))
    assert {network.stage_of(name) for name in module.state_dict()} == {0}


def test_an_encoder_is_no_classifier(monkeypatch: pytest.MonkeyPatch) -> None:
    """As mobilenetv5_300m_enc, which takes seconds to build."""
    import timm

    encoder = nn.Sequential(nn.Conv2d(3, 8, 3))
    monkeypatch.setattr(timm, "create_model", lambda *_, **__: encoder)
    with pytest.raises(UserError, match=r"model.name=mobilenetv5_300m_enc: .* no classifier"):
        build("mobilenetv5_300m_enc", 64)


@pytest.mark.parametrize(
    ("name", "size"), [("deit_tiny_distilled_patch16_224", 32), ("repvit_m1", 64), ("shvit_s1", 64)]
)
def test_weights_for_other_classes_keep_all_but_the_classifiers(name: str, size: int, tmp_path: Path) -> None:
    check_other_classes(name, size, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "size"), [("volo_d1_224", 224), ("efficientvim_m1_dist", 64), ("levit_128s", 224)])
def test_weights_of_several_heads_for_other_classes(name: str, size: int, tmp_path: Path) -> None:
    check_other_classes(name, size, tmp_path)


def check_other_classes(name: str, size: int, tmp_path: Path) -> None:
    theirs = build(name, size, seen=Untried())
    shake(theirs.module)
    write_tensors(tmp_path / "w.safetensors", theirs.module.state_dict())
    ours = backbones.build(name, "timm", CLASSES + 2, size, seen=Untried())
    source = weights.resolve(name, "timm", str(tmp_path / "w.safetensors"))
    assert not weights.load(ours, source, size).head_kept
    told = ours.module.pretrained_cfg["classifier"]
    heads = tuple(f"{path}." for path in ([told] if isinstance(told, str) else told))
    body = {key: value for key, value in theirs.module.state_dict().items() if not key.startswith(heads)}
    assert body
    assert all(ours.module.state_dict()[key].equal(value) for key, value in body.items())
    again = build(name, size, seen=Untried())
    assert weights.load(again, source, size).head_kept
