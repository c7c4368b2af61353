"""Adapters: nothing changes when they arrive, training moves them alone, merging gives the plain network back."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from transfer_cli.errors import UserError
from transfer_cli.methods import adapters


class Net(nn.Module):
    """Every kind of weight that adapters meet: convolutions (plain, grouped, depthwise, 1x1), attention, linear."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, stride=2, padding=1)
        self.grouped = nn.Conv2d(16, 32, 3, padding=1, groups=4, bias=False)
        self.depthwise = nn.Conv2d(32, 32, 3, padding=1, groups=32)
        self.norm = nn.BatchNorm2d(32)
        self.pointwise = nn.Conv2d(32, 24, 1)
        self.attention = nn.MultiheadAttention(24, 2, batch_first=True)
        self.head = nn.Linear(24, 5)

    def forward(self, images: Tensor) -> Tensor:
        x = self.pointwise(self.norm(self.depthwise(self.grouped(self.stem(images)).relu())))
        tokens = x.flatten(2).mT
        tokens = tokens + self.attention(tokens, tokens, tokens, need_weights=False)[0]
        return self.head(tokens.mean(1))


LORA = ["stem", "grouped", "pointwise", "attention.out_proj", "head"]
Add = Callable[[nn.Module], None]


def lora(net: nn.Module) -> None:
    adapters.add_lora(net, adapters.lora_weights(net, 2), rank=2, alpha=4.0)


def linear(net: nn.Module) -> None:
    adapters.add_linear_adapters(net, adapters.linear_adapter_weights(net, 2), width=2)


@pytest.fixture
def net() -> Net:
    torch.manual_seed(0)
    return Net().eval()


IMAGES = torch.linspace(-1, 1, 2 * 3 * 8 * 8).view(2, 3, 8, 8)


def stir(net: nn.Module) -> None:
    """What training would do: adapters away from zero."""
    torch.manual_seed(1)
    for name, parameter in net.named_parameters():
        if adapters.is_adapter(name):
            nn.init.normal_(parameter, std=0.3)


@pytest.mark.parametrize("add", [lora, linear])
@torch.no_grad()
def test_outputs_are_unchanged_at_the_start(net: Net, add: Add) -> None:
    before = net(IMAGES)
    add(net)
    assert torch.equal(net(IMAGES), before)


@pytest.mark.parametrize("add", [lora, linear])
@torch.no_grad()
def test_merging_gives_the_same_logits_under_plain_names(net: Net, add: Add) -> None:
    names, before = list(net.state_dict()), net(IMAGES)
    add(net)
    stir(net)
    adapted = net(IMAGES)
    adapters.merge(net)
    assert list(net.state_dict()) == names
    assert torch.equal(net(IMAGES), adapted)
    assert not torch.allclose(adapted, before, atol=1e-2)
    fresh = Net().eval()
    fresh.load_state_dict(net.state_dict())
    assert torch.equal(fresh(IMAGES), adapted)


@pytest.mark.parametrize("add", [lora, linear])
@torch.no_grad()
def test_merging_rounds_as_training_does_in_bf16(net: Net, add: Add) -> None:
    add(net)
    stir(net)
    with torch.autocast("cpu", torch.bfloat16):
        adapted = net(IMAGES)
    adapters.merge(net)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(net(IMAGES), adapted)


def test_lora_is_alpha_over_r_times_b_a() -> None:
    layer = nn.Conv2d(4, 6, 3, groups=2, bias=False)
    w = layer.weight.detach().clone()
    adapters.add_lora(layer, ["weight"], rank=2, alpha=3.0)
    stir(layer)
    parts = dict(layer.named_parameters())
    b, a = parts["parametrizations.weight.0.up"], parts["parametrizations.weight.0.down"]
    assert b.shape == (6, 2) and a.shape == (2, 2 * 9)
    torch.testing.assert_close(layer.weight, w + 1.5 * (b @ a).reshape(6, 2, 3, 3))


def test_lora_parameters_as_computed_by_hand(net: Net) -> None:
    """r (out + in / groups * h * w) for each weight."""
    lora(net)
    new = {name: p.numel() for name, p in net.named_parameters() if adapters.is_adapter(name)}
    by_hand = 2 * ((16 + 3 * 9) + (32 + 4 * 9) + (32 + 9) + (24 + 32) + (72 + 24) + (24 + 24) + (5 + 24))
    assert sum(new.values()) == by_hand


def test_weights_that_an_adapter_would_not_make_smaller_are_left_out(net: Net) -> None:
    """A depthwise kernel [32, 9] has rank 9 and 288 numbers: rank 8 would train 328."""
    assert "depthwise.weight" in adapters.lora_weights(net, 2)
    assert "depthwise.weight" not in adapters.lora_weights(net, 8)
    assert "stem.weight" in adapters.linear_adapter_weights(net, 2)
    assert not {"grouped.weight", "depthwise.weight"} & set(adapters.linear_adapter_weights(net, 2))
    with pytest.raises(UserError, match=r"depthwise\.weight: no weight that a LoRA of rank 8 fits"):
        adapters.add_lora(net, ["depthwise.weight"], rank=8, alpha=8)
    with pytest.raises(UserError, match=r"grouped\.weight: no weight that a linear adapter"):
        adapters.add_linear_adapters(net, ["grouped.weight"], width=2)
    with pytest.raises(UserError, match=r"heads\.weight.*Did you mean head\.weight"):
        adapters.add_lora(net, ["heads.weight"], rank=2, alpha=8)


@pytest.mark.parametrize(
    ("layer", "x"),
    [
        (nn.Conv2d(6, 4, 3, stride=2, padding=1), torch.linspace(-1, 1, 300).view(2, 6, 5, 5)),
        (nn.Linear(6, 4), torch.linspace(-1, 1, 12).view(2, 6)),
    ],
    ids=["convolution", "linear"],
)
def test_a_linear_adapter_is_a_bottleneck_before_its_layer(layer: nn.Module, x: Tensor) -> None:
    plain = nn.Conv2d(6, 4, 3, stride=2, padding=1) if x.ndim == 4 else nn.Linear(6, 4)
    plain.load_state_dict(layer.state_dict())
    adapters.add_linear_adapters(layer, ["weight"], width=1)
    stir(layer)
    parts = dict(layer.named_parameters())
    u, v = parts["parametrizations.weight.0.up"], parts["parametrizations.weight.0.down"]
    assert u.shape == (6, 1) and v.shape == (1, 6)
    bottleneck = x + torch.einsum("ij,bj...->bi...", u @ v, x)
    torch.testing.assert_close(layer(x), plain(bottleneck))


def test_gradients_reach_the_adapters_and_not_the_frozen_weights(net: Net) -> None:
    lora(net)
    for name, parameter in net.named_parameters():
        parameter.requires_grad_(adapters.is_adapter(name))
    net(IMAGES).square().sum().backward()
    for name, parameter in net.named_parameters():
        assert (parameter.grad is not None) == adapters.is_adapter(name), name
    assert all(net.get_submodule(name).parametrizations.weight[0].up.grad.any() for name in LORA)


def test_names_lead_back_to_the_plain_architecture(net: Net) -> None:
    plain = dict(net.named_parameters())
    lora(net)
    for name, _ in net.named_parameters():
        assert adapters.plain_name(name) in plain
        assert adapters.is_adapter(name) == ("parametrizations" in name and not name.endswith("original"))
    assert adapters.plain_name("attention.parametrizations.in_proj_weight.0.down") == "attention.in_proj_weight"
    assert adapters.plain_name("parametrizations.weight.original") == "weight"


def test_bitfit_is_every_bias_and_nothing_else(net: Net) -> None:
    biases = {name for name, _ in net.named_parameters() if adapters.is_bias(name)}
    assert biases == {
        "stem.bias",
        "depthwise.bias",
        "norm.bias",
        "pointwise.bias",
        "attention.in_proj_bias",
        "attention.out_proj.bias",
        "head.bias",
    }
    assert not adapters.is_bias("blocks.0.attn.relative_position_bias_table")
