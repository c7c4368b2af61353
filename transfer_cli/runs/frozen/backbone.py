"""The pretrained network of a run without its classifier: built on first need, or known from an earlier run.

A run whose activations are all cached needs of the backbone only what its exported model holds; that is kept beside
the activations, so that neither torchvision nor timm is imported.
"""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from transfer_cli.cache.entry import Key
from transfer_cli.config.schema import Experiment
from transfer_cli.files import parsed_json, remembered_sha256
from transfer_cli.models.network import Network
from transfer_cli.models.published import published_classes
from transfer_cli.models.staging import CUTS_VERSION
from transfer_cli.models.tensors import write_tensors
from transfer_cli.records.summary import version
from transfer_cli.runs.machine import Machine
from transfer_cli.runs.pretrained import Pretrained

KIND = "backbones"
TENSORS, FACTS = "backbone.safetensors", "facts.json"


@dataclass(frozen=True)
class Backbone:
    """One pretrained network and what its cached outputs are known by."""

    experiment: Experiment
    machine: Machine
    pretrained: Pretrained
    classes: int
    """How many its own head would tell apart; what a random start depends on."""
    keep_head: bool = False
    """Whether the network keeps the head that its weights came with, for images without labels."""

    @functools.cached_property
    def own_classes(self) -> tuple[str, ...]:
        """What the head of the weights tells apart; none where there is no such head."""
        return published_classes(self.pretrained.source, self.pretrained.model.name)

    @functools.cached_property
    def weights_sha256(self) -> str | None:
        """Of the file that the weights come from; None for random ones."""
        location = self.pretrained.source.location
        return None if location is None else remembered_sha256(location)

    @functools.cached_property
    def identity(self) -> Key:
        """All that the network's tensors and its arithmetic depend on."""
        random = {"seed": self.experiment.seed, "classes": self.classes}
        channels = self.experiment.dataset.channels
        return {
            **({} if channels is None else {"channels": channels}),
            "model": self.pretrained.model.name,
            "source": self.pretrained.model.source,
            "weights": self.weights_sha256 or random,
            "image_size": self.pretrained.preprocessing.crop_pixels,
            "cuts": CUTS_VERSION,
            "versions": {name: version(name) for name in ("transfer-run", "torch", "torchvision", "timm")},
        }

    @functools.cached_property
    def network(self) -> Network:
        """The network on the device, in eval mode."""
        classes = max(len(self.own_classes), 1) if self.keep_head else self.classes
        network, _ = self.pretrained.build(classes, self.experiment.seed, keep_head=self.keep_head)
        network.to(self.machine.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        network.eval()
        return network

    @property
    def note(self) -> str | None:
        """What is to be said of how the network is cut, where it was built."""
        return self.network.note if "network" in self.__dict__ else None

    def is_known(self) -> bool:
        """Whether an earlier run has kept what an exported model needs, so that `network` need not be built."""
        return self.machine.cache.has(KIND, self.identity)

    def facts(self) -> dict[str, Any]:
        """`classifier`: the path of the layer that a head replaces; `parameters`: how many the rest has."""
        facts: dict[str, Any] = parsed_json((self._folder() / FACTS).read_text(encoding="utf-8"))
        return facts

    def tensors(self) -> dict[str, Tensor]:
        """Parameters and buffers of all but the classifier."""
        return load_file(self._folder() / TENSORS)

    def _folder(self) -> Path:
        return self.machine.cache.fill(KIND, self.identity, lambda folder: _write(folder, self.network))


def _write(folder: Path, network: Network) -> None:
    heads = tuple(f"{path}." for path in network.stages[-1].modules)
    rest = {name: t for name, t in network.module.state_dict().items() if not name.startswith(heads)}
    write_tensors(folder / TENSORS, rest)
    names = dict(network.module.named_parameters())
    count = sum(p.numel() for name, p in names.items() if not name.startswith(heads))
    (folder / FACTS).write_text(json.dumps({"classifier": network.classifier, "parameters": count}), encoding="utf-8")
