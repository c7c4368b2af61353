"""Optimizers by name, over a strategy's parameter groups."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from transfer_cli.config import AdamW, Optimizer, Sgd
from transfer_cli.strategies.base import ParameterGroup

Groups = list[dict[str, Any]]


def _sgd(groups: Groups, config: Optimizer, fused: bool) -> torch.optim.Optimizer:
    assert isinstance(config, Sgd)
    return torch.optim.SGD(groups, lr=config.lr, momentum=config.momentum, nesterov=config.nesterov, fused=fused)


def _adamw(groups: Groups, config: Optimizer, fused: bool) -> torch.optim.Optimizer:
    assert isinstance(config, AdamW)
    return torch.optim.AdamW(groups, lr=config.lr, betas=config.betas, eps=config.eps, fused=fused)


BUILDERS: dict[str, Callable[[Groups, Optimizer, bool], torch.optim.Optimizer]] = {"sgd": _sgd, "adamw": _adamw}


def build_optimizer(groups: Sequence[ParameterGroup], config: Optimizer, device: torch.device) -> torch.optim.Optimizer:
    """The optimizer over all groups; each torch group carries its `lr_multiplier` for the schedule."""
    torch_groups: Groups = [
        {
            "params": list(group.parameters.values()),
            "lr": config.lr * group.lr_multiplier,
            "lr_multiplier": group.lr_multiplier,
            "weight_decay": config.weight_decay if group.decay else 0.0,
        }
        for group in groups
    ]
    return BUILDERS[config.name](torch_groups, config, device.type in ("cpu", "cuda"))


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Give every group the base rate times its own multiplier."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group["lr_multiplier"]


def pack_state(optimizer: torch.optim.Optimizer) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """The optimizer's state as flat named tensors and plain scalars, both under `<parameter index>/<key>`."""
    tensors: dict[str, torch.Tensor] = {}
    scalars: dict[str, Any] = {}
    for index, entries in optimizer.state_dict()["state"].items():
        for key, value in entries.items():
            if isinstance(value, torch.Tensor):
                tensors[f"{index}/{key}"] = value
            else:
                scalars[f"{index}/{key}"] = value
    return tensors, scalars


def unpack_state(optimizer: torch.optim.Optimizer, tensors: dict[str, torch.Tensor], scalars: dict[str, Any]) -> None:
    """Give a fresh optimizer over the same groups a packed state back, bit for bit."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    state: dict[int, dict[str, Any]] = {}
    for name, value in {**tensors, **scalars}.items():
        index, key = name.split("/", 1)
        parameter = parameters[int(index)]
        if isinstance(value, torch.Tensor) and value.shape == parameter.shape:
            # Moments lie in memory like their weights (channels last), or the kernels would take another path.
            value = torch.empty_like(parameter).copy_(value)
        state.setdefault(int(index), {})[key] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
