"""Tensors of a file under the names that a network has for them, or why they are none of its own.

Trainers wrap a network in others and save what they call its tensors then: `module.`, `_orig_mod.`, `model.`,
`module.encoder_q.`. Any one prefix that makes the names fit is taken off.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from transfer_cli.errors import UserError

SHOWN_NAMES = 5
# Of two networks in one file, the one that is meant to be used.
PREFERRED = ("encoder_q.", "base_encoder.", "online_encoder.", "online_network.", "teacher.", "backbone.", "model.")
_WRAPPED = re.compile(r"\b_(orig_mod|fsdp_wrapped_module|checkpoint_wrapped_module)\.")
"""What torch puts into the names of layers that were compiled, sharded or recomputed each by itself."""
COUNTER = "num_batches_tracked"
"""Of BatchNorm; files from before it was counted lack it, and nothing here depends on it."""


def without_prefix(tensors: dict[str, Tensor], wanted: Collection[str], path: Path) -> tuple[dict[str, Tensor], str]:
    """The tensors under the one prefix that has all of `wanted`, without it, and that prefix.

    Where no prefix does, the names may still have to be converted: only what all of them share goes, if no name of
    `wanted` begins with it. Raises UserError where several prefixes fit alike.
    """
    needed = [name for name in wanted if not name.endswith(COUNTER)]
    fitting = _fitting(tensors, needed)
    if not fitting:
        bare = {_WRAPPED.sub("", name): tensor for name, tensor in tensors.items()}
        if len(bare) == len(tensors) and (fitting := _fitting(bare, needed)):
            tensors = bare
    if "" in fitting or not needed:
        return tensors, ""
    chosen = fitting if len(fitting) < 2 else [p for end in PREFERRED for p in fitting if p.endswith(end)][:1]
    if len(fitting) > 1 and not chosen:
        raise UserError(
            f"model.weights: {path}: holds the network more than once, under {', '.join(sorted(fitting))}: save one."
        )
    prefix = chosen[0] if chosen else _shared(tensors, wanted)
    return {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}, prefix


def _fitting(tensors: Mapping[str, Tensor], needed: list[str]) -> list[str]:
    if not needed:
        return []
    ends = [name for name in tensors if name.endswith(needed[0])]
    prefixes = [name[: len(name) - len(needed[0])] for name in ends]
    return [p for p in prefixes if (not p or p.endswith(".")) and all(p + name in tensors for name in needed)]


def _shared(tensors: Mapping[str, Tensor], wanted: Collection[str]) -> str:
    """The parts that all names begin with and none of `wanted` does."""
    prefix = ""
    while True:
        firsts = {name.removeprefix(prefix).partition(".")[0] for name in tensors}
        first = next(iter(firsts)) + "."
        nested = all(name.removeprefix(prefix).startswith(first) for name in tensors)
        if len(firsts) != 1 or not nested or any(name.startswith(first) for name in wanted):
            return prefix
        prefix += first


def check_fit(module: nn.Module, tensors: Mapping[str, Tensor], path: Path, as_in_file: Collection[str]) -> None:
    """Raises UserError where tensors are missing, too many, of other shapes, or no numbers.

    `as_in_file` are the names as the file has them, which are shown beside those of the network.
    """
    own = module.state_dict()
    missing = [f"{name} missing" for name in own if name not in tensors]
    extra = [f"{name} not in the model" for name in tensors if name not in own]
    shapes = [
        f"{name} has shape {list(tensors[name].shape)}, not {list(own[name].shape)}"
        for name in own
        if name in tensors and tensors[name].shape != own[name].shape
    ]
    kinds = [
        f"{name} is of {tensors[name].dtype}, where plain numbers with a fraction are needed"
        for name in own
        if name in tensors and own[name].is_floating_point() and not tensors[name].is_floating_point()
    ]
    problems = [*shapes, *missing, *extra, *kinds]
    if problems:
        more = f" and {len(problems) - SHOWN_NAMES} more" if len(problems) > SHOWN_NAMES else ""
        raise UserError(
            f"model.weights: {path} does not fit the model: {'; '.join(problems[:SHOWN_NAMES])}{more}.\n"
            f"The file has {_listed(as_in_file)}\nThe model has {_listed(own)}"
        )
    _check_finite(module, tensors, path)


def _check_finite(module: nn.Module, tensors: Mapping[str, Tensor], path: Path) -> None:
    """A mask may hold infinities, a weight may not."""
    parameters = dict(module.named_parameters())
    floating = {name: tensor for name, tensor in tensors.items() if tensor.is_floating_point()}
    # One pass over each: whatever is no number makes no number of the sum.
    doubtful = {name: tensor for name, tensor in floating.items() if not torch.isfinite(tensor.sum())}
    broken = [
        name
        for name, tensor in doubtful.items()
        if tensor.isnan().any() or (name in parameters and not torch.isfinite(tensor).all())
    ]
    if broken:
        more = f" and {len(broken) - SHOWN_NAMES} more" if len(broken) > SHOWN_NAMES else ""
        raise UserError(
            f"model.weights: {path}: not a number (NaN) or infinite in {', '.join(broken[:SHOWN_NAMES])}{more}: the "
            "training that saved them had diverged. Take an earlier checkpoint."
        )


def _listed(names: Collection[str]) -> str:
    more = ", ..." if len(names) > SHOWN_NAMES else ""
    return f"{len(names)} tensors: {', '.join([*names][:SHOWN_NAMES])}{more}"
