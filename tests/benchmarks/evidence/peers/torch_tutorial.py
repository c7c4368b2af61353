"""The loop of PyTorch's "Transfer Learning for Computer Vision Tutorial" (Chilamkurthy), with its settings."""

from __future__ import annotations

import torch
from torch import nn
from torch.optim.lr_scheduler import StepLR
from torchvision.transforms import v2

from tests.benchmarks.evidence.peers.loop import Settings
from tests.benchmarks.evidence.peers.loop import fit as fit_loop
from tests.benchmarks.evidence.peers.material import Material, Scores, to_tensor


def fit(material: Material) -> Scores:
    """SGD at 0.001 with momentum 0.9, batches of four, a tenth of the rate every seven epochs, crops and flips."""
    network, preprocessing = material.network()
    optimizer = torch.optim.SGD(network.module.parameters(), lr=0.001, momentum=0.9)
    scheduler = StepLR(optimizer, step_size=7, gamma=0.1)
    transform = v2.Compose(
        [v2.RandomResizedCrop(material.image_size), v2.RandomHorizontalFlip(), *to_tensor(preprocessing)]
    )
    settings = Settings(transform, 4, nn.CrossEntropyLoss(), optimizer, lambda epoch: scheduler.step())
    return fit_loop(material, network.module, preprocessing, settings)
