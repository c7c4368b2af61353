"""What most ImageNet weights of torchvision want."""

from __future__ import annotations

from transfer_cli.models.preprocessing import Preprocessing

IMAGENET = Preprocessing(224, 256, "bilinear", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
