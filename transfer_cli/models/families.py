"""Kinds of architectures that need other settings: by what normalises them, and by how they mix places."""

from __future__ import annotations

from typing import Literal

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from transfer_cli.models.network import Network

Family = Literal["depthwise", "dense", "attention", "convnext", "other"]


def family_of(network: Network) -> Family:
    """By what normalises it, and by how it mixes places."""
    layers = list(network.modules())
    norms = sum(isinstance(layer, _BatchNorm) for layer in layers)
    others = sum("LayerNorm" in type(layer).__name__ for layer in layers)
    convolutions = [layer for layer in layers if isinstance(layer, nn.Conv2d)]
    depthwise = sum(layer.groups == layer.in_channels > 1 for layer in convolutions)
    if norms > others:
        return "depthwise" if depthwise > len(convolutions) / 8 else "dense"
    if others == 0:
        return "other"
    return "convnext" if depthwise > len(convolutions) / 8 else "attention"
