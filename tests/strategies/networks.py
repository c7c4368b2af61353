"""Tiny networks and batches for tests of strategies."""

from __future__ import annotations

import torch

from transfer_cli.config.finetune import Unfreeze
from transfer_cli.data.batches import Batch
from transfer_cli.engine.objective import Objective
from transfer_cli.models import backbones
from transfer_cli.models.network import Network
from transfer_cli.strategies.finetune import Finetune
from transfer_cli.strategies.groups import Rates, parameter_groups
from transfer_cli.strategies.trainable import selected, thawing

CLASSES, SIZE = 3, 32


def tiny(name: str = "test_resnet") -> Network:
    """A network of which everything moves: residual branches that start at zero are opened."""
    torch.manual_seed(0)
    network = backbones.build(name, "timm", CLASSES, image_size=SIZE)
    for layer in network.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            torch.nn.init.ones_(layer.weight)
    return network


def finetune(network: Network, unfreeze: Unfreeze = "all", objective: Objective | None = None) -> Finetune:
    training = thawing(network, selected(network, unfreeze, "train"), gradual=0, epochs=1)
    return Finetune(training, objective or Objective())


def batch(count: int = 6, seed: int = 0) -> Batch:
    draw = torch.Generator().manual_seed(seed)
    images = torch.randn(count, 3, SIZE, SIZE, generator=draw)
    labels = torch.arange(count) % CLASSES
    return Batch(images, labels, torch.arange(count))


def train(strategy: Finetune, epochs: int, lr: float = 0.1) -> list[float]:
    """Two steps an epoch, by SGD with momentum and decay; returns the losses."""
    groups = [
        {"params": list(g.parameters.values()), "lr": lr * g.lr_multiplier, "weight_decay": 0.1 * g.decay}
        for g in parameter_groups(strategy.trainable, Rates())
    ]
    optimizer = torch.optim.SGD(groups, lr=lr, momentum=0.9)
    losses = []
    for epoch in range(epochs):
        strategy.train_mode(epoch)
        for step in range(2):
            optimizer.zero_grad(set_to_none=True)
            loss = strategy(batch(seed=2 * epoch + step)).loss
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    return losses
