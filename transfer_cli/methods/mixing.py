"""Mixup and cutmix of images and labels: every image of a batch mixed with another of the same batch.

"mixup: Beyond Empirical Risk Minimization" (Zhang 2018, arXiv 1710.09412), "CutMix: Regularization Strategy to Train
Strong Classifiers with Localizable Features" (Yun 2019, arXiv 1905.04899). What is mixed with what is drawn in
data/views/mixing.py.
"""

from __future__ import annotations

import torch
from torch import Tensor

from transfer_cli.data.views.mixing import Mixes
from transfer_cli.methods.losses import smoothed


def mix_images(images: Tensor, mixes: Mixes) -> Tensor:
    """Images [B, C, H, W], normalised floats, mixed with their partners."""
    top, left, bottom, right = (edge.view(-1, 1, 1) for edge in mixes.boxes.unbind(1))
    rows = torch.arange(images.shape[2], device=images.device).view(1, -1, 1)
    columns = torch.arange(images.shape[3], device=images.device).view(1, 1, -1)
    pasted = (rows >= top) & (rows < bottom) & (columns >= left) & (columns < right)
    outside = torch.where((bottom > top) & (right > left), 0.0, 1 - mixes.shares.view(-1, 1, 1))
    of_partner = torch.where(pasted, 1.0, outside).to(images.dtype).unsqueeze(1)
    return torch.lerp(images, images[mixes.partners], of_partner)


def mix_targets(targets: Tensor, mixes: Mixes, classes: int) -> Tensor:
    """Probabilities [B, K] of the mixtures, from labels [B] or probabilities [B, K]."""
    soft = smoothed(targets, classes, 0.0)
    return torch.lerp(soft, soft[mixes.partners], 1 - mixes.shares.unsqueeze(1))
