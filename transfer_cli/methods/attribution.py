"""Where in an image a network saw what it says: class activation maps by gradients.

"Grad-CAM: Visual Explanations from Deep Networks via Gradient-based Localization" (Selvaraju 2017, arXiv 1610.02391).
Legend: B images, C channels of maps of H x W places, N tokens of width D.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

Logits = Callable[[Tensor], Tensor]


def grad_cam(maps: Tensor, logits: Logits, classes: Tensor) -> Tensor:
    """Heat [B, H, W] from 0 to 1 of `classes` [B], from maps [B, C, H, W] and what makes logits [B, K] of them.

    Each channel counts by its mean gradient; places that speak against the class stay at 0.
    """
    maps = maps.detach().requires_grad_()
    with torch.enable_grad():
        scores = logits(maps).gather(1, classes[:, None]).sum()
        (slopes,) = torch.autograd.grad(scores, maps)
    heat = (slopes.mean((2, 3), keepdim=True) * maps).sum(1).relu().detach()
    highest = heat.amax((1, 2), keepdim=True)
    return torch.where(highest > 0, heat / highest.clamp_min(1e-12), heat)


def as_maps(activations: Tensor, prefix: int, *, channels_last: bool) -> Tensor | None:
    """Activations as maps [B, C, H, W]; None where their places are not those of a square image.

    Of tokens [B, N, D] those behind the first `prefix` are the patches, row by row.
    """
    if activations.ndim == 4:
        return activations.permute(0, 3, 1, 2) if channels_last else activations
    if activations.ndim != 3:
        return None
    patches = activations.shape[1] - prefix
    side = math.isqrt(max(patches, 0))
    if side * side != patches or side < 2:
        return None
    return activations[:, prefix:].transpose(1, 2).reshape(len(activations), -1, side, side)


def as_activations(maps: Tensor, like: Tensor, prefix: int, *, channels_last: bool) -> Tensor:
    """The way back of `as_maps`; the first tokens are those of `like`."""
    if like.ndim == 4:
        return maps.permute(0, 2, 3, 1) if channels_last else maps
    return torch.cat([like[:, :prefix], maps.flatten(2).transpose(1, 2)], dim=1)
