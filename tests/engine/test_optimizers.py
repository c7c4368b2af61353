"""Every optimizer: obeys its groups' rates, resumes bit for bit, and lowers a loss at its default rate."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file
from torch import nn

from transfer_cli.command.source import conf_dir
from transfer_cli.config.auto import chosen
from transfer_cli.config.convert import convert_one_of
from transfer_cli.config.optimizers import OPTIMIZERS, Optimizer
from transfer_cli.engine.optimizers import build_optimizer, muon_split, pack_state, set_rate, unpack_state
from transfer_cli.engine.strategy import ParameterGroup
from transfer_cli.strategies.rules import Situation, rate

NAMES = sorted(OPTIMIZERS)


def config(name: str, **changes: float) -> Optimizer:
    """The option as its YAML has it, at the rate that a pretrained EfficientNet gets, with changes."""
    problems: list[str] = []
    by_rule = {"lr": rate(Situation("depthwise", True, 2000, 32, name)).value}
    values = yaml.safe_load((conf_dir() / "optimizer" / f"{name}.yaml").read_text()) | by_rule | changes
    option: Optimizer = convert_one_of({name: OPTIMIZERS[name].keys}, values, "optimizer", problems)
    assert not problems
    return option


class Net(nn.Module):
    """A stem, a stage with every kind of weight, a head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.conv = nn.Conv2d(8, 16, 3, padding=1)
        self.depthwise = nn.Conv2d(16, 16, 3, padding=1, groups=16)
        self.norm = nn.BatchNorm2d(16)
        self.position_embedding = nn.Parameter(torch.zeros(16, 16))
        self.linear = nn.Linear(16, 12)
        self.head = nn.Linear(12, 4)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        x = self.norm(self.depthwise(self.conv(self.stem(images).relu()))).relu()
        return self.head(self.linear((x.flatten(2) + self.position_embedding).mean(2)).relu())


def network() -> Net:
    torch.manual_seed(0)
    return Net().to(memory_format=torch.channels_last)


def groups(net: nn.Module, multipliers: dict[str, float]) -> list[ParameterGroup]:
    """As a strategy makes them: by stage, weights apart from biases and norms."""
    result = []
    for stage in ("stem", "stage1", "head"):
        for decay in (True, False):
            named = {n: p for n, p in net.named_parameters() if (p.ndim > 1) == decay and _stage(n) == stage}
            result.append(ParameterGroup(stage, named, multipliers.get(stage, 1.0), decay))
    return result


def _stage(name: str) -> str:
    first = name.split(".")[0]
    return first if first in ("stem", "head") else "stage1"


def built(name: str, net: nn.Module, multipliers: dict[str, float] | None = None) -> torch.optim.Optimizer:
    return build_optimizer(groups(net, multipliers or {}), config(name), torch.device("cpu"))


IMAGES = torch.linspace(-3, 3, 8 * 3 * 64).view(8, 3, 8, 8).sin().to(memory_format=torch.channels_last)
LABELS = torch.arange(8) % 4


def train(net: nn.Module, optimizer: torch.optim.Optimizer, steps: range, rate: float, thaws: int = 0) -> list[float]:
    """Losses of some steps; the stem has no gradients before step `thaws`; the rate moves with the step."""
    losses = []
    for step in steps:
        net.stem.requires_grad_(step >= thaws)
        set_rate(optimizer, rate * (1 - step / 50))
        optimizer.zero_grad(set_to_none=True)
        loss = nn.functional.cross_entropy(net(IMAGES), LABELS)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def bits(net: nn.Module) -> dict[str, bytes]:
    return {name: p.detach().contiguous().numpy().tobytes() for name, p in net.named_parameters()}


def test_every_optimizer_has_its_yaml() -> None:
    assert sorted(file.stem for file in (conf_dir() / "optimizer").glob("*.yaml")) == NAMES
    assert all(config(name).name == name for name in NAMES)


@pytest.mark.parametrize("thaws", [0, 2, 4], ids=["all train", "thawed before", "thaws after"])
@pytest.mark.parametrize("name", NAMES)
def test_resumes_bit_for_bit(name: str, thaws: int, tmp_path: Path) -> None:
    """Three steps, through files, three more in a fresh optimizer: the same bits as six, also across unfreezing."""
    multipliers = {"stem": 0.1, "stage1": 0.5}
    rate = config(name).lr
    whole = network()
    train(whole, built(name, whole, multipliers), range(6), rate, thaws)

    first = network()
    optimizer = built(name, first, multipliers)
    train(first, optimizer, range(3), rate, thaws)
    tensors, scalars = pack_state(optimizer)
    save_file({key: value.contiguous() for key, value in tensors.items()}, tmp_path / "optimizer.safetensors")
    (tmp_path / "scalars.json").write_text(json.dumps(scalars))

    second = network()
    second.load_state_dict(first.state_dict())
    fresh = built(name, second, multipliers)
    unpack_state(
        fresh, load_file(tmp_path / "optimizer.safetensors"), json.loads((tmp_path / "scalars.json").read_text())
    )
    train(second, fresh, range(3, 6), rate, thaws)
    assert bits(second) == bits(whole) != bits(first)
    again, _ = pack_state(fresh)
    assert again.keys() >= tensors.keys()


@pytest.mark.parametrize("name", NAMES)
def test_a_group_moves_by_its_multiplier(name: str) -> None:
    """A multiplier of 0 holds a group still; 0.5 at a rate is 1 at half the rate."""
    rate = config(name).lr
    still, half, plain = network(), network(), network()
    train(still, built(name, still, {"stage1": 0.0}), range(2), rate)
    start = bits(network())
    for parameter, content in bits(still).items():
        assert (content == start[parameter]) == (_stage(parameter) == "stage1"), parameter
    everywhere = dict.fromkeys(("stem", "stage1", "head"), 0.5)
    train(half, built(name, half, everywhere), range(3), rate)
    train(plain, built(name, plain), range(3), rate / 2)
    assert bits(half) == bits(plain)


@pytest.mark.parametrize("name", NAMES)
def test_decay_acts_on_the_groups_that_decay(name: str) -> None:
    """With a large decay weights shrink more than without; biases and norms are the same to the bit after a step."""
    decayed, free = network(), network()
    for net, decay in ((decayed, 0.5), (free, 0.0)):
        option = config(name, weight_decay=decay)
        train(net, build_optimizer(groups(net, {}), option, torch.device("cpu")), range(1), option.lr)
    ours, theirs = bits(decayed), bits(free)
    for parameter, value in network().named_parameters():
        # The table starts at zero, where there is nothing to decay.
        decays = value.ndim > 1 and bool(value.any())
        assert (ours[parameter] != theirs[parameter]) == decays, parameter


@pytest.mark.parametrize("name", NAMES)
def test_the_default_rate_learns(name: str) -> None:
    net = network()
    losses = train(net, built(name, net), range(40), chosen(config(name).lr))
    assert losses[-1] < losses[0] - 0.02


def test_muon_takes_hidden_matrices_only() -> None:
    """Not depthwise filters, tables, biases, norms, the first or the last layer."""
    parts = list(muon_split(groups(network(), {})))
    hidden = {name for part, muon in parts if muon for name in part.parameters}
    rest = {name for part, muon in parts if not muon for name in part.parameters}
    assert hidden == {"conv.weight", "linear.weight"}
    assert hidden | rest == set(dict(network().named_parameters()))
    assert len(hidden) + len(rest) == sum(len(part.parameters) for part, _ in parts)


def test_muon_orthogonalises_flattened_kernels_and_leaves_the_rest_to_adamw() -> None:
    """One step without decay: singular values of the update are alike, 0.2 sqrt(max(out, in)) times the rate."""
    net, adam = network(), network()
    option = config("muon", weight_decay=0.0, lr=0.01)
    train(net, build_optimizer(groups(net, {}), option, torch.device("cpu")), range(1), 0.01)
    update = (net.conv.weight - network().conv.weight).detach().reshape(16, 72)
    values = torch.linalg.svdvals(update) / (0.01 * 0.2 * 72**0.5)
    assert values.min() > 0.6 and values.max() < 1.3
    train(
        adam, build_optimizer(groups(adam, {}), config("adamw", weight_decay=0.0), torch.device("cpu")), range(1), 0.01
    )
    for name in ("head.weight", "stem.weight", "conv.bias", "position_embedding"):
        torch.testing.assert_close(net.get_parameter(name), adam.get_parameter(name))
