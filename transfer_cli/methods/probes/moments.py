"""What closed forms need to know of labelled features: sums, taken once in float64 whatever the features' type.

Legend: N samples, D feature width, K classes.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from transfer_cli.methods.probes.linear_layer import row_blocks, rows_at_once


class Moments(NamedTuple):
    """Sums over N samples, all float64: two samples of the same features and labels have the same moments."""

    samples: int
    mean: Tensor
    """[D]"""
    scatter: Tensor
    """[D, D]: sum of (x - mean)(x - mean)^T."""
    fourth: Tensor
    """Scalar: sum of |x - mean|^4."""
    class_counts: Tensor
    """[K]"""
    class_sums: Tensor
    """[K, D]: sum of x over the samples of each class."""

    def between(self) -> Tensor:
        """Sum of x - mean over the samples of each class, [K, D]."""
        return self.class_sums - self.class_counts[:, None] * self.mean


def moments(features: Tensor, labels: Tensor, classes: int) -> Moments:
    """Two passes over features [N, D] with labels [N] in range(classes), in parts."""
    width, device = features.shape[1], features.device
    sums = torch.zeros(classes, width, dtype=torch.float64, device=device)
    at_once = rows_at_once(width)
    for rows, part in zip(row_blocks(features, at_once), labels.split(at_once), strict=True):
        sums.index_add_(0, part, rows)
    mean = sums.sum(0) / len(features)
    scatter = torch.zeros(width, width, dtype=torch.float64, device=device)
    fourth = torch.zeros((), dtype=torch.float64, device=device)
    for rows in row_blocks(features, at_once):
        centred = rows - mean
        scatter.addmm_(centred.T, centred)
        fourth += centred.square().sum(1).square().sum()
    counts = torch.bincount(labels, minlength=classes)
    return Moments(len(features), mean, scatter, fourth, counts.double(), sums)


def spectrum(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues [R] above rounding and their vectors [D, R] of a symmetric matrix [D, D] without negative ones."""
    values, vectors = torch.linalg.eigh(matrix)
    there = values > len(values) * torch.finfo(values.dtype).eps * values[-1].clamp_min(0)
    return values[there], vectors[:, there]
