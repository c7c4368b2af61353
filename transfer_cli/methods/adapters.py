"""Adapters: few new parameters beside frozen weights, merged into these for export.

Each is a parametrization of a weight (torch.nn.utils.parametrize) rather than a wrapper around a layer, because
networks read weights themselves: attention its projections, Swin its linear layers, weight-standardised convolutions
their kernels. What a layer computes with is what `merge` leaves behind, bit for bit, under the plain name.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from transfer_cli.errors import UserError, did_you_mean
from transfer_cli.methods.full_precision import float32

_PARAMETRIZED = re.compile(r"\bparametrizations\.([^.]+)\.(.+)$")


class LowRank(nn.Module):
    """LoRA: W + (alpha / r) B A with B [out, r] and A [r, in * kernel]; B is zero at the start.

    "LoRA: Low-Rank Adaptation of Large Language Models" (Hu 2021, arXiv 2106.09685). A convolution's kernel [out, in /
    groups, h, w] counts as the matrix [out, in / groups * h * w].
    """

    def __init__(self, weight: Tensor, rank: int, alpha: float) -> None:
        super().__init__()
        self.down = nn.Parameter(weight.new_empty(rank, weight[0].numel()))
        self.up = nn.Parameter(weight.new_zeros(len(weight), rank))
        self.scale = alpha / rank
        nn.init.kaiming_uniform_(self.down, a=math.sqrt(5))

    def forward(self, weight: Tensor) -> Tensor:
        """The adapted weight, always in full precision: merging must not round otherwise than training did."""
        with float32(weight.device.type):
            return weight + self.scale * (self.up @ self.down).view(weight.shape)


class LinearAdapter(nn.Module):
    """A bottleneck without non-linearity before a layer: x + U V x over channels, U zero at the start.

    The bottleneck adapter of "Parameter-Efficient Transfer Learning for NLP" (Houlsby 2019, arXiv 1902.00751), made
    linear and put in series as the 1x1 convolutions of Rebuffi 2018 (arXiv 1803.10082), so that it merges: W (I + U V)
    with U [in, r] and V [r, in], for linear layers and ungrouped convolutions.
    """

    def __init__(self, weight: Tensor, width: int) -> None:
        super().__init__()
        self.down = nn.Parameter(weight.new_empty(width, weight.shape[1]))
        self.up = nn.Parameter(weight.new_zeros(weight.shape[1], width))
        nn.init.kaiming_uniform_(self.down, a=math.sqrt(5))

    def forward(self, weight: Tensor) -> Tensor:
        """The adapted weight, always in full precision: merging must not round otherwise than training did."""
        with float32(weight.device.type):
            return weight + torch.einsum("or...,ri->oi...", torch.einsum("oi...,ir->or...", weight, self.up), self.down)


def lora_weights(module: nn.Module, rank: int) -> list[str]:
    """Names of linear, convolution and attention weights whose rank-`rank` update is smaller than they are."""
    weights = _layer_weights(module)
    return [name for name, w in weights.items() if rank * (len(w) + w[0].numel()) < w.numel()]


def linear_adapter_weights(module: nn.Module, width: int) -> list[str]:
    """Names of linear, ungrouped convolution and attention weights that take an adapter smaller than they are."""
    grouped = {f"{name}.weight" for name, layer in module.named_modules() if getattr(layer, "groups", 1) > 1}
    weights = _layer_weights(module)
    return [name for name, w in weights.items() if name not in grouped and 2 * width * w.shape[1] < w.numel()]


def add_lora(module: nn.Module, weights: Sequence[str], rank: int, alpha: float) -> None:
    """Give each weight, by its parameter name, a LoRA of this rank. Raises UserError for one that cannot have it."""
    _check(weights, lora_weights(module, rank), f"LoRA of rank {rank}")
    _parametrize(module, weights, lambda weight: LowRank(weight, rank, alpha))


def add_linear_adapters(module: nn.Module, weights: Sequence[str], width: int) -> None:
    """Give each weight, by its parameter name, a linear adapter. Raises UserError for one that cannot have it."""
    _check(weights, linear_adapter_weights(module, width), f"linear adapter of width {width}")
    _parametrize(module, weights, lambda weight: LinearAdapter(weight, width))


@torch.no_grad()
def merge(module: nn.Module) -> None:
    """Fold every adapter into its weight, in place: the state dict is again that of the plain architecture."""
    for layer in list(module.modules()):
        if not parametrize.is_parametrized(layer):
            continue
        for name in list(layer.parametrizations):  # type: ignore[arg-type]
            parametrize.remove_parametrizations(layer, name, leave_parametrized=True)
            # Torch puts it behind the bias; in plain layers the weight comes first.
            others = {key: layer._parameters.pop(key) for key in list(layer._parameters) if key != name}
            layer._parameters.update(others)


def plain_name(name: str) -> str:
    """The weight of the plain architecture that a parameter is, or adapts: for its stage, its rate, its source."""
    return _PARAMETRIZED.sub(r"\1", name)


def is_adapter(name: str) -> bool:
    """Whether a parameter belongs to an adapter: with LoRA or linear adapters only these train, and the head."""
    found = _PARAMETRIZED.search(name)
    return found is not None and found.group(2) != "original"


def is_bias(name: str) -> bool:
    """Whether a parameter is a bias, of norms too: BitFit (Ben Zaken 2022, arXiv 2106.10199) trains these."""
    last = name.rpartition(".")[2]
    return last == "bias" or last.endswith("_bias")


def _layer_weights(module: nn.Module) -> dict[str, Tensor]:
    weights: dict[str, Tensor] = {}
    for path, layer in module.named_modules():
        tensor = "in_proj_weight" if isinstance(layer, nn.MultiheadAttention) else "weight"
        weight = getattr(layer, tensor, None)
        if isinstance(layer, (nn.Linear, nn.Conv2d, nn.MultiheadAttention)) and isinstance(weight, nn.Parameter):
            weights[f"{path}.{tensor}" if path else tensor] = weight
    return weights


def _check(names: Sequence[str], able: list[str], what: str) -> None:
    for name in names:
        if name not in able:
            hint = did_you_mean(name, able)
            raise UserError(f"{name}: no weight that a {what} fits and makes smaller.{hint}")


def _parametrize(module: nn.Module, weights: Sequence[str], build: Callable[[Tensor], nn.Module]) -> None:
    for name in weights:
        path, _, tensor = name.rpartition(".")
        layer = module.get_submodule(path)
        parametrize.register_parametrization(layer, tensor, build(getattr(layer, tensor).detach()))
