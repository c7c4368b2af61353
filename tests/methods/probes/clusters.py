"""Labelled features to try methods on: one Gaussian cluster a class, overlapping, with unequal scales."""

from __future__ import annotations

import torch
from torch import Tensor


def clusters(
    samples: int, width: int, classes: int, *, seed: int = 0, spread: float = 1.5, dtype: torch.dtype = torch.float64
) -> tuple[Tensor, Tensor]:
    """Features [N, D] and labels [N]; every class occurs. All seeds share the centres."""
    centres = torch.randn(classes, width, generator=torch.Generator().manual_seed(99), dtype=torch.float64)
    generator = torch.Generator().manual_seed(seed)
    labels = torch.cat([torch.arange(classes), torch.randint(0, classes, (samples - classes,), generator=generator)])
    noise = torch.randn(samples, width, generator=generator, dtype=torch.float64)
    scales = torch.linspace(0.5, 2, width, dtype=torch.float64)
    return ((centres[labels] + spread * noise) * scales + 1).to(dtype), labels
