"""The plain loop that timm's script and the PyTorch tutorial share: the epoch that is best on validation is scored."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn
from torch.optim import Optimizer

from tests.benchmarks.evidence.peers.material import Material, Scores, accuracy, evaluation_transform
from transfer_cli.models.preprocessing import Preprocessing

_SCORED_TOGETHER = 128


@dataclass(frozen=True)
class Settings:
    """What a tool trains with; `epoch_ends` is told how many epochs are over, and moves the rate."""

    transform: Callable[..., Tensor]
    batch_size: int
    criterion: nn.Module
    optimizer: Optimizer
    epoch_ends: Callable[[int], None]


def fit(material: Material, module: nn.Module, preprocessing: Preprocessing, settings: Settings) -> Scores:
    """Train all layers of `module`."""
    device = material.device
    batches = material.loader("train", settings.transform, settings.batch_size, train=True)
    scored = evaluation_transform(preprocessing)
    validation, test = (material.loader(split, scored, _SCORED_TOGETHER) for split in ("val", "test"))
    best, kept = -1.0, {}
    for epoch in range(1, material.epochs + 1):
        module.train()
        for images, labels in batches:
            settings.optimizer.zero_grad()
            settings.criterion(module(images.to(device)), labels.to(device)).backward()
            settings.optimizer.step()
        settings.epoch_ends(epoch)
        found = accuracy(module, validation, device)
        if found > best:
            best, kept = found, copy.deepcopy(module.state_dict())
    module.load_state_dict(kept)
    return Scores(best, accuracy(module, test, device))
