"""Adapters on what would train: few new parameters instead of the weights, which stay as they are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from torch import nn

from transfer_cli.errors import UserError
from transfer_cli.methods import adapters
from transfer_cli.models.network import Network
from transfer_cli.strategies.trainable import stage_of

Kind = Literal["none", "lora", "linear", "bitfit"]


def adapt(network: Network, names: set[str], kind: Kind, rank: int, alpha: float) -> set[str]:
    """Give the weights among `names` adapters; returns the names of what trains then, the head among them.

    Raises UserError where nothing below the head can be adapted.
    """
    if kind == "none":
        return names
    head = {name for name in names if stage_of(network, name) == len(network.stages) - 1}
    return head | ADAPT[kind](network.module, names - head, rank, alpha)


def _bitfit(module: nn.Module, names: set[str], rank: int, alpha: float) -> set[str]:
    return _some({name for name in names if adapters.is_bias(name)}, "bitfit")


def _lora(module: nn.Module, names: set[str], rank: int, alpha: float) -> set[str]:
    weights = [name for name in adapters.lora_weights(module, rank) if name in names]
    adapters.add_lora(module, weights, rank, alpha)
    return _new(module, f"lora of rank {rank}")


def _linear(module: nn.Module, names: set[str], rank: int, alpha: float) -> set[str]:
    weights = [name for name in adapters.linear_adapter_weights(module, rank) if name in names]
    adapters.add_linear_adapters(module, weights, rank)
    return _new(module, f"linear adapters of width {rank}")


ADAPT: dict[str, Callable[[nn.Module, set[str], int, float], set[str]]] = {
    "bitfit": _bitfit,
    "lora": _lora,
    "linear": _linear,
}


def _new(module: nn.Module, what: str) -> set[str]:
    return _some({name for name, _ in module.named_parameters() if adapters.is_adapter(name)}, what)


def _some(names: set[str], what: str) -> set[str]:
    if not names:
        raise UserError(
            f"strategy.adapter: nothing that strategy.unfreeze names can have {what}; lower strategy.adapter_rank, or "
            "let it name more."
        )
    return names
