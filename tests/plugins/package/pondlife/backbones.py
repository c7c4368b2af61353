"""A backbone: whatever is registered with timm, as its own models are, is found by its name."""

from __future__ import annotations

from typing import Any

import torch
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model

default_cfgs = generate_default_cfgs(
    {
        "pondnet.untrained": {"input_size": (3, 32, 32), "classifier": "fc", "first_conv": "stem.0"},
        "puddle.untrained": {"input_size": (3, 32, 32), "classifier": "4", "first_conv": "0"},
    }
)


class PondNet(torch.nn.Module):
    """Two convolutions and a linear classifier."""

    def __init__(self, num_classes: int = 1000, in_chans: int = 3) -> None:
        super().__init__()
        self.num_classes, self.num_features = num_classes, 16
        self.stem = torch.nn.Sequential(torch.nn.Conv2d(in_chans, 8, 3, 2, 1), torch.nn.BatchNorm2d(8), torch.nn.ReLU())
        self.body = torch.nn.Sequential(torch.nn.Conv2d(8, 16, 3, 2, 1), torch.nn.BatchNorm2d(16), torch.nn.ReLU())
        self.fc = torch.nn.Linear(16, num_classes)

    def forward_features(self, images: torch.Tensor) -> torch.Tensor:
        """Images [B, C, H, W] to maps [B, 16, H / 4, W / 4]."""
        maps: torch.Tensor = self.body(self.stem(images))
        return maps

    def forward_head(self, maps: torch.Tensor, pre_logits: bool = False) -> torch.Tensor:
        """Maps to logits [B, K]."""
        features = maps.mean((2, 3))
        logits: torch.Tensor = features if pre_logits else self.fc(features)
        return logits

    def get_classifier(self) -> torch.nn.Module:
        """The layer that makes logits of features."""
        return self.fc

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Images [B, C, H, W] to logits [B, K]."""
        return self.forward_head(self.forward_features(images))


@register_model  # type: ignore[untyped-decorator]
def pondnet(pretrained: bool = False, **more: Any) -> Any:
    """The network."""
    return build_model_with_cfg(PondNet, "pondnet", pretrained, **more)


@register_model  # type: ignore[untyped-decorator]
def puddle(pretrained: bool = False, num_classes: int = 1000, **more: Any) -> Any:
    """A network that knows nothing of timm's interface: it trains as a whole."""
    return torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 3, 2, 1), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(),
        torch.nn.Linear(8, num_classes),
    )  # fmt: skip
