"""What every peer is given: the pretrained network, how its weights want images, and the folders."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

from transfer_cli.models import backbones, weights
from transfer_cli.models.network import Network
from transfer_cli.models.preprocessing import Preprocessing


@dataclass(frozen=True)
class Scores:
    """Accuracies, 0 to 1."""

    val: float
    test: float


@dataclass(frozen=True)
class Material:
    """One comparison."""

    folder: Path
    model: str
    weights: str
    image_size: int
    epochs: int
    seed: int
    device: torch.device

    @property
    def classes(self) -> list[str]:
        """Names, in the order of their labels."""
        return sorted(entry.name for entry in (self.folder / "train").iterdir())

    def network(self) -> tuple[Network, Preprocessing]:
        """The network with the weights that ours has, its new head as the library draws it; and their preprocessing."""
        source = weights.resolve(self.model, "auto", self.weights)
        if source.kind != "none" and source.location is None:
            source = replace(source, location=weights.fetch(source))
        torch.manual_seed(self.seed)
        network = backbones.build(self.model, "auto", len(self.classes), self.image_size)
        weights.load(network, source, self.image_size)
        return network.to(self.device), source.preprocessing.at(self.image_size)

    def loader(
        self, split: str, transform: Callable[[Any], Any], batch_size: int, *, train: bool = False
    ) -> DataLoader[tuple[Tensor, Tensor]]:
        """Batches of a split; in training shuffled by the seed, and no batch of one, which BatchNorm cannot take."""
        images = ImageFolder(self.folder / split, transform)
        size = min(batch_size, len(images))
        order = torch.Generator().manual_seed(self.seed)
        return DataLoader(images, size, shuffle=train, drop_last=train and len(images) % size == 1, generator=order)


def evaluation_transform(preprocessing: Preprocessing) -> v2.Transform:
    """What the weights expect of an image that is scored."""
    return v2.Compose(
        [
            v2.Resize(preprocessing.resize_pixels, v2.InterpolationMode(preprocessing.interpolation)),
            v2.CenterCrop(preprocessing.crop_pixels),
            *to_tensor(preprocessing),
        ]
    )


def to_tensor(preprocessing: Preprocessing) -> list[v2.Transform]:
    """From an image to the numbers that the weights expect."""
    return [
        v2.ToImage(),
        v2.ToDtype(torch.float32, scale=True),
        v2.Normalize(list(preprocessing.mean), list(preprocessing.std)),
    ]


@torch.no_grad()
def accuracy(module: nn.Module, batches: DataLoader[tuple[Tensor, Tensor]], device: torch.device) -> float:
    """Share of images of the right class."""
    module.eval()
    right = total = 0
    for images, labels in batches:
        right += int((module(images.to(device)).argmax(1).cpu() == labels).sum())
        total += len(labels)
    return right / total
