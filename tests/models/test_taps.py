"""Taps: the plain forward pass with features beside it, in one layout, and stages paired by depth."""

from __future__ import annotations

import functools

import pytest
import torch

from transfer_cli.errors import UserError
from transfer_cli.models import backbones
from transfer_cli.models.network import Network, prefix_tokens
from transfer_cli.models.taps import (
    Shapes,
    as_features,
    check_pairs,
    default_pairs,
    embedding_stage,
    forward_taps,
    observe,
)

FAMILIES = [
    ("auto", "resnet18", 64),
    ("auto", "efficientnet_lite0", 64),
    ("auto", "mobilenet_v3_small", 64),
    ("auto", "densenet121", 64),
    ("auto", "swin_t", 64),
    ("torchvision", "squeezenet1_1", 64),
    ("timm", "test_resnet", 64),
    ("timm", "test_vit", 64),
    ("timm", "test_convnext", 64),
    ("timm", "test_nfnet", 64),
    ("timm", "test_mambaout", 64),
    ("timm", "densenet121", 64),
]


@functools.cache
def build(source: str, name: str, size: int) -> Network:
    torch.manual_seed(0)
    return backbones.build(name, source, 5, size)


def names(network: Network) -> list[str]:
    return [stage.name for stage in network.stages]


@pytest.mark.parametrize(("source", "name", "size"), FAMILIES)
def test_a_tapped_pass_is_the_plain_pass(source: str, name: str, size: int) -> None:
    """In training mode too, with its dropout and stochastic depth."""
    network, images = build(source, name, size).train(), torch.rand(4, 3, size, size)
    torch.manual_seed(1)
    plain = network(images)
    torch.manual_seed(1)
    assert torch.equal(forward_taps(network, images, names(network))[0], plain)


@pytest.mark.parametrize(("source", "name", "size"), FAMILIES)
@torch.no_grad()
def test_taps_are_the_stages_activations(source: str, name: str, size: int) -> None:
    """The numbers of each stage, prefix tokens aside, in any order; no later stage writes into a tapped feature."""
    network = build(source, name, size).eval()
    images = activations = torch.rand(2, 3, size, size)
    _, features = forward_taps(network, images, names(network))
    for stage in network.stages:
        activations = stage.run(network.module, activations.clone())
        kept = activations[:, prefix_tokens(network.module) :] if activations.ndim == 3 else activations
        assert torch.equal(features[stage.name].flatten(1).sort().values, kept.flatten(1).sort().values)


@pytest.mark.parametrize(("source", "name", "size"), [*FAMILIES, ("auto", "vit_b_16", 64)])
def test_every_family_gives_maps_and_then_vectors(source: str, name: str, size: int) -> None:
    shapes = observe(build(source, name, size), size)
    *body, head = shapes.values()
    assert head == (5,)
    maps = [shape for shape in body if len(shape) > 1]
    assert maps
    assert all(len(shape) == 3 and shape[1] == shape[2] for shape in maps)
    assert [shape[1] for shape in maps] == sorted((shape[1] for shape in maps), reverse=True)
    assert embedding_stage(shapes) == ("stage4" if name == "squeezenet1_1" else "pool")


def test_channels_last_maps_keep_their_places() -> None:
    maps = torch.rand(2, 5, 5, 5)
    assert torch.equal(as_features(maps, channels_last=True)[1, 2, 3, 4], maps[1, 3, 4, 2])
    assert torch.equal(as_features(maps), maps)


def test_tokens_lie_on_their_grid() -> None:
    tokens = torch.rand(2, 1 + 9, 4)
    laid = as_features(tokens, skipped_tokens=1)
    assert laid.shape == (2, 4, 3, 3)
    assert torch.equal(laid[1, 2, 1, 2], tokens[1, 1 + 3 + 2, 2])
    assert as_features(torch.rand(2, 10, 4)).shape == (2, 4, 10)


def test_tokens_of_a_vit_are_where_its_patches_are() -> None:
    """Only the patch that a bright spot lies in differs behind the patch embedding."""
    network = build("timm", "test_vit", 64).eval()
    images = torch.zeros(2, 3, 64, 64)
    images[1, :, 20, 40] = 1.0
    dark, bright = forward_taps(network, images, ["stem"])[1]["stem"]
    changed = (dark != bright).any(0).nonzero().tolist()
    assert changed == [[20 // 16, 40 // 16]]


def test_behind_a_frozen_prefix() -> None:
    network = build("timm", "test_resnet", 64).eval()
    images = torch.rand(2, 3, 64, 64)
    logits, features = forward_taps(network, images, ["layer3", "pool"])
    activations = network.forward_to(3, images)
    later_logits, later = forward_taps(network, activations, ["layer3", "pool"], boundary=3)
    assert torch.equal(later_logits, logits)
    assert all(torch.equal(later[name], features[name]) for name in features)
    with pytest.raises(AssertionError, match="layer1"):
        forward_taps(network, activations, ["layer1"], boundary=3)


def test_torch_compile_sees_one_graph() -> None:
    network = build("timm", "test_resnet", 64).eval()
    images = torch.rand(2, 3, 64, 64)
    compiled = torch.compile(lambda x: forward_taps(network, x, ("layer2", "pool")), backend="eager", fullgraph=True)
    with torch.no_grad():
        logits, features = compiled(images)
        plain_logits, plain = forward_taps(network, images, ("layer2", "pool"))
    assert torch.equal(logits, plain_logits)
    assert all(torch.equal(features[name], plain[name]) for name in plain)


def shapes(*sizes: int, channels: int = 8) -> Shapes:
    """Stages of these sizes, a pooling and a head."""
    body = {f"s{number}": (channels, size, size) for number, size in enumerate(sizes, 1)}
    return {**body, "pool": (channels,), "head": (5,)}


@pytest.mark.parametrize(
    ("student", "teacher", "pairs"),
    [
        # The last stage of each resolution; two sizes of image go together.
        ((56, 56, 28, 14, 7), (112, 112, 56, 28, 28, 14), "s2-s2 s3-s3 s4-s5 s5-s6"),
        # The coarsest resolutions, where one network has fewer.
        ((32, 16, 8), (56, 28, 14, 7), "s1-s2 s2-s3 s3-s4"),
        # One resolution in equal parts of the stages, on either side.
        ((56, 28, 14, 7), (14,) * 12, "s1-s3 s2-s6 s3-s9 s4-s12"),
        ((14,) * 6, (28, 28, 14, 7), "s2-s2 s4-s3 s6-s4"),
        ((14,) * 12, (16,) * 8, "s3-s2 s6-s4 s9-s6 s12-s8"),
        # A network of one stage.
        ((7,), (56, 28, 14, 7), "s1-s4"),
        ((56, 28, 14, 7), (7,), "s4-s1"),
        ((), (56, 28), ""),
    ],
)
def test_default_pairs(student: tuple[int, ...], teacher: tuple[int, ...], pairs: str) -> None:
    found = default_pairs(shapes(*student), shapes(*teacher))
    assert " ".join(f"{s}-{t}" for s, t in found) == pairs


def test_default_pairs_of_real_networks() -> None:
    resnet = observe(build("auto", "resnet18", 64), 64)
    lite = observe(build("auto", "efficientnet_lite0", 64), 64)
    vit = observe(build("timm", "test_vit", 64), 64)
    assert default_pairs(lite, resnet) == (
        ("block2", "layer1"),
        ("block3", "layer2"),
        ("block5", "layer3"),
        ("conv_head", "layer4"),
    )
    # The ViT's stem is no block: six blocks in four parts.
    assert default_pairs(resnet, vit) == (
        ("layer1", "block2"),
        ("layer2", "block3"),
        ("layer3", "block4"),
        ("layer4", "block6"),
    )


def test_unknown_stages_are_named_with_the_nearest() -> None:
    student, teacher = shapes(8, 4), {"layer1": (8, 8, 8), "pool": (8,), "head": (5,)}
    check_pairs((("s1", "layer1"), ("pool", "pool")), student, teacher, "strategy.pairs")
    with pytest.raises(UserError, match=r"strategy.pairs: student stage=s9: .*Did you mean s2 or s1.*head, pool, s1"):
        check_pairs((("s9", "layer1"),), student, teacher, "strategy.pairs")
    with pytest.raises(UserError, match=r"strategy.pairs: teacher stage=layr1: .*layer1"):
        check_pairs((("s1", "layr1"),), student, teacher, "strategy.pairs")


def test_stages_without_positions_in_common() -> None:
    student = {"map": (8, 4, 4), "tokens": (8, 17), "pool": (8,)}
    teacher = {"map": (9, 7, 7), "tokens": (9, 17), "pool": (9,)}
    check_pairs((("map", "map"), ("tokens", "tokens"), ("pool", "pool")), student, teacher, "strategy.pairs")
    for pair in (("map", "tokens"), ("tokens", "map"), ("map", "pool")):
        with pytest.raises(UserError, match=r"strategy.pairs: the student's \w+ has features of shape \(8, .* maps"):
            check_pairs((pair,), student, teacher, "strategy.pairs")
