"""Optimizers by name, over a strategy's parameter groups."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch

from transfer_cli.config.auto import chosen
from transfer_cli.config.optimizers import OPTIMIZERS, Muon, Optimizer
from transfer_cli.engine.strategy import ParameterGroup
from transfer_cli.extras import named
from transfer_cli.models.shards import put

# What an optimizer keeps by group instead of by parameter: LAMB counts its steps so.
GROUP_STATE = ("step",)

# Words in the names of tables and first layers, which Muon's authors give to AdamW beside the head.
EMBEDDINGS = ("embed", "position", "token", "stem")


def build_optimizer(
    groups: Sequence[ParameterGroup], config: Optimizer, device: torch.device, *, sharded: bool = False
) -> torch.optim.Optimizer:
    """The optimizer over all groups; each torch group carries its `lr_multiplier` for the schedule.

    `sharded`: of each parameter every rank has a part.
    """
    if isinstance(config, Muon):
        torch_groups = [
            _torch_group(part, config) | {"use_muon": muon, "nesterov": config.nesterov and muon}
            for part, muon in muon_split(groups)
        ]
    else:
        torch_groups = [_torch_group(group, config) for group in groups]
    kind = OPTIMIZERS[config.name]
    arguments = {**kind.arguments(config), **kind.fixed}
    if kind.fused:
        # Torch has no fused kernel of SGD for parts of parameters.
        arguments["fused"] = device.type in ("cpu", "cuda") and not (sharded and config.name == "sgd")
    optimizer: torch.optim.Optimizer = named(kind.path)(torch_groups, lr=config.lr, **arguments)
    return optimizer


def muon_split(groups: Sequence[ParameterGroup]) -> Iterator[tuple[ParameterGroup, bool]]:
    """Each group in up to two: hidden matrices, which Muon orthogonalises, and all else, which AdamW moves.

    Matrices are linear weights and convolution kernels that mix channels, [out, in * h * w], outside the first and last
    layers (Jordan 2024). True marks the first part.
    """
    for group in groups:
        hidden = {
            name: p
            for name, p in group.parameters.items()
            if group.stage not in ("stem", "head")
            and p.ndim in (2, 4)
            and p.shape[1] > 1
            and not any(word in name for word in EMBEDDINGS)
        }
        rest = {name: p for name, p in group.parameters.items() if name not in hidden}
        yield from ((replace(group, parameters=part), part is hidden) for part in (hidden, rest) if part)


def _torch_group(group: ParameterGroup, config: Optimizer) -> dict[str, Any]:
    return {
        "params": list(group.parameters.values()),
        "lr": chosen(config.lr) * group.lr_multiplier,
        "lr_multiplier": group.lr_multiplier,
        "weight_decay": config.weight_decay if group.decay else 0.0,
    }


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Give every group the base rate times its own multiplier."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group["lr_multiplier"]


def pack_state(optimizer: torch.optim.Optimizer) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """The optimizer's state as flat named tensors and plain scalars.

    Both are named `<parameter index>/<key>`, and `group<index>/<key>` for what is kept by group.
    """
    state = optimizer.state_dict()
    entries = {f"{index}/{key}": value for index, own in state["state"].items() for key, value in own.items()}
    for index, group in enumerate(state["param_groups"]):
        entries |= {f"group{index}/{key}": group[key] for key in GROUP_STATE if key in group}
    tensors = {name: value for name, value in entries.items() if isinstance(value, torch.Tensor)}
    return tensors, {name: value for name, value in entries.items() if name not in tensors}


def unpack_state(optimizer: torch.optim.Optimizer, tensors: dict[str, torch.Tensor], scalars: dict[str, Any]) -> None:
    """Give a fresh optimizer over the same groups a packed state back, bit for bit.

    Raises ValueError for tensors of a shape that its kernels would read past.
    """
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    groups = optimizer.state_dict()["param_groups"]
    state: dict[int, dict[str, Any]] = {}
    for name, value in {**tensors, **scalars}.items():
        owner, key = name.split("/", 1)
        if owner.startswith("group"):
            groups[int(owner.removeprefix("group"))][key] = value
            continue
        parameter = parameters[int(owner)]
        if isinstance(value, torch.Tensor) and not _is_moment_of(value, parameter):
            raise ValueError(f"{name} has shape {list(value.shape)}, its weights have {list(parameter.shape)}")
        if isinstance(value, torch.Tensor) and value.shape == parameter.shape:
            # Moments lie in memory like their weights (channels last), or the kernels would take another path.
            value = put(value, torch.empty_like(parameter))
        state.setdefault(int(owner), {})[key] = value
    optimizer.load_state_dict({"state": state, "param_groups": groups})


def _is_moment_of(value: torch.Tensor, parameter: torch.Tensor) -> bool:
    """Whether it is one number, a number a weight, or a mean of them over whole dimensions, as Adafactor keeps."""
    fits = value.ndim == parameter.ndim and all(
        own in (1, size) for own, size in zip(value.shape, parameter.shape, strict=True)
    )
    return value.numel() == 1 or fits
