"""What any script that trains on a folder of images is made of: network, transforms, loaders. Nothing here is ours."""

from __future__ import annotations

import json
from dataclasses import dataclass

import timm
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Subset
from torchvision.datasets import ImageFolder
from torchvision.models import resnet18
from torchvision.transforms import v2


@dataclass(frozen=True)
class Setting:
    """What is trained: what `ours` says of itself, and where the images and the weights are."""

    model: str
    folder: str
    size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: str
    crop_scale: tuple[float, float]
    crop_ratio: tuple[float, float]
    flip: float
    colour: tuple[float, float, float]
    """Brightness, contrast, saturation."""
    batch: int
    images: int
    """To train on."""
    smoothing: float
    weight_decay: float
    rate: float
    epochs: int
    held_out: int
    """Images of the folder for validation, and as many for the test."""
    precision: str = "32-true"
    weights: str | None = None
    """A file of a state dict; None: random."""

    @classmethod
    def read(cls, text: str) -> Setting:
        """From JSON."""
        return cls(**json.loads(text))

    def network(self, classes: int) -> nn.Module:
        """Channels last; a head of another width than that of the weights is new."""
        module: nn.Module
        if self.model == "resnet18":
            module = resnet18(num_classes=classes)
        else:
            module = timm.create_model(f"tf_{self.model}", num_classes=classes)
        if self.weights is not None:
            module.load_state_dict(torch.load(self.weights), strict=False)
        return module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def loss(self, module: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        """Of one batch, to be minimised."""
        logits = module(images.to(memory_format=torch.channels_last))
        return F.cross_entropy(logits, labels, label_smoothing=self.smoothing)

    def optimizer(self, module: nn.Module) -> torch.optim.Optimizer:
        """Of one kernel for all weights."""
        return torch.optim.AdamW(module.parameters(), self.rate, weight_decay=self.weight_decay, fused=True)

    def loaders(self) -> tuple[list[DataLoader[tuple[Tensor, Tensor]]], int]:
        """Batches to train, to validate and to test on, by two workers that stay; and how many classes there are."""
        varied, plain = ImageFolder(self.folder, self._varied()), ImageFolder(self.folder, self._plain())
        order = torch.randperm(len(plain), generator=torch.Generator().manual_seed(0)).tolist()
        val, test, train = order[: self.held_out], order[self.held_out : 2 * self.held_out], order[2 * self.held_out :]
        parts = [Subset(varied, train[: self.images]), Subset(plain, val), Subset(plain, test)]
        loaders = [
            DataLoader(
                part,
                self.batch if part is parts[0] else 2 * self.batch,
                shuffle=part is parts[0],
                num_workers=2,
                persistent_workers=True,
            )
            for part in parts
        ]
        return loaders, len(plain.classes)

    def _varied(self) -> v2.Transform:
        brightness, contrast, saturation = self.colour
        crop = v2.RandomResizedCrop(
            self.size, self.crop_scale, self.crop_ratio, v2.InterpolationMode(self.interpolation)
        )
        return v2.Compose(
            [
                v2.ToImage(),
                crop,
                *([v2.RandomHorizontalFlip(self.flip)] if self.flip else []),
                *([v2.ColorJitter(brightness, contrast, saturation)] if any(self.colour) else []),
                *self._numbers(),
            ]
        )

    def _plain(self) -> v2.Transform:
        size = [self.size, self.size]
        return v2.Compose([v2.ToImage(), v2.Resize(size, v2.InterpolationMode(self.interpolation)), *self._numbers()])

    def _numbers(self) -> list[v2.Transform]:
        return [v2.ToDtype(torch.float32, scale=True), v2.Normalize(list(self.mean), list(self.std))]
