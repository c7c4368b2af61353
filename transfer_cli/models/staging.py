"""Which cut of a network composes to it: stages are run against the plain forward pass once, which is remembered.

What a library's model does between its parts is its own affair, and changes from version to version: a second head, a
normalisation in the classifier, a list of maps. Stages that leave it out would train and score another network.
"""

from __future__ import annotations

import contextlib
import copy
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from transfer_cli.files import parsed_json, read_signed_json, write_signed_json
from transfer_cli.models.network import Cut

CUTS_VERSION = 2
"""Raised whenever stages are cut otherwise: what was computed behind older ones is not taken for the same."""
TOLERANCE = 1e-4


@dataclass
class SeenCuts:
    """Which cut composes, by network and size: of this process, and with a `folder` of earlier runs as well."""

    folder: Path | None = None
    _known: dict[str, int] = field(default_factory=dict)
    _added: dict[str, int] = field(default_factory=dict)

    def find(self, network: str, image_size: int) -> int | None:
        """The number of the finest cut that composes; None where that was not tried yet."""
        key = _key(network, image_size)
        if key not in self._known and self.folder is not None:
            with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
                self._known[key] = int(read_signed_json(self._file(key))["cut"])
        return self._known.get(key)

    def add(self, network: str, image_size: int, cut: int) -> None:
        """Remember, on disk once `keep` is called."""
        key = _key(network, image_size)
        self._known[key] = self._added[key] = cut

    def keep(self) -> None:
        """Write what was added. Where the disk does not take it, it is tried again next time, nothing else."""
        if self.folder is None or not self._added:
            return
        with contextlib.suppress(OSError):
            self.folder.mkdir(parents=True, exist_ok=True)
            for key, cut in self._added.items():
                write_signed_json(self._file(key), {"cut": cut, "asked": parsed_json(key)})

    def _file(self, key: str) -> Path:
        assert self.folder is not None
        return self.folder / f"{hashlib.sha256(key.encode()).hexdigest()[:16]}.json"


IN_PROCESS = SeenCuts()


def _key(network: str, image_size: int) -> str:
    versions = {package: metadata.version(package) for package in ("torch", "torchvision", "timm", "transfer-run")}
    return json.dumps({"network": network, "image_size": image_size, "cuts": CUTS_VERSION, **versions})


def finest(module: nn.Module, cuts: Iterator[Cut], image_size: int, channels: int = 3) -> tuple[int, Cut]:
    """The first of `cuts` that computes what `module` computes, in evaluation and with its dropout, and its number.

    The last one is taken unseen: it must be the network whole.
    """
    perturbed = _perturbed(module)
    number, cut = 0, next(cuts)
    for coarser in cuts:
        if _composes(perturbed, cut, (2, channels, image_size, image_size)):
            return number, cut
        number, cut = number + 1, coarser
    return number, cut


def nth(cuts: Iterator[Cut], number: int) -> Cut:
    """The cut of that number, or the last one."""
    cut = next(cuts)
    for _ in range(number):
        cut = next(cuts, cut)
    return cut


@torch.no_grad()
def _perturbed(module: nn.Module) -> nn.Module:
    """A copy in which nothing is at a start that hides it: no BatchNorm that does nothing, no layer of zeros."""
    perturbed = copy.deepcopy(module)
    with _own_randomness():
        for tensor in (*perturbed.parameters(), *perturbed.buffers()):
            if not tensor.is_floating_point():
                continue
            if tensor.ndim < 2:
                tensor.add_(torch.rand_like(tensor) / 4)
            elif not tensor.any():
                tensor.normal_(std=0.02)
    return perturbed


def _composes(module: nn.Module, cut: Cut, shape: tuple[int, ...]) -> bool:
    modes = (False, True) if _draws(module) else (False,)
    return all(_same(module.train(training), cut, shape) for training in modes)


def _draws(module: nn.Module) -> bool:
    """Whether training has dropout or stochastic depth: as a layer, or as a rate that a forward pass reads."""
    rates = [getattr(part, name, 0) for part in module.modules() for name in ("p", "drop_prob", "drop_rate", "dropout")]
    return any(isinstance(rate, float) and rate > 0 for rate in rates)


@torch.no_grad()
def _same(module: nn.Module, cut: Cut, shape: tuple[int, ...]) -> bool:
    """Whether the stages give the module's logits; dropout and stochastic depth draw the same in both."""
    with _own_randomness():
        wanted = module(torch.rand(shape))
    with _own_randomness():
        try:
            found: Any = torch.rand(shape)
            for stage in cut.stages:
                found = stage.run(module, found)
                if not isinstance(found, Tensor):
                    return False
        except Exception:
            # Stages that do not fit a model can fail in any way; whichever it was, they are not its stages.
            return False
    scale = wanted.abs().max().clamp_min(1e-6)
    return found.shape == wanted.shape and torch.allclose(
        found / scale, wanted / scale, rtol=0, atol=TOLERANCE, equal_nan=True
    )


@contextlib.contextmanager
def _own_randomness() -> Iterator[None]:
    """The same random numbers each time, and afterwards those that would have come."""
    state = torch.get_rng_state()
    torch.manual_seed(0)
    try:
        yield
    finally:
        torch.set_rng_state(state)
