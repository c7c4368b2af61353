"""Ridge regression on one-hot targets: a probe in closed form that chooses its own penalty.

Ours rather than scikit-learn's RidgeCV: float64 sums of features in parts, on their device, without an import of 1.1 s.

Legend: N samples, D feature width, K classes, A penalties.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from transfer_cli.methods.probes.linear_layer import LinearLayer, row_blocks, rows_at_once
from transfer_cli.methods.probes.moments import Moments, moments

# Two a decade. On standardised features the largest eigenvalues are of the order of N.
RIDGE_REGULARIZERS = tuple(10 ** (step / 2) for step in range(-6, 15))


class RidgeFit(NamedTuple):
    """The layer, the penalty chosen, and the leave-one-out mean squared error of every penalty [A]."""

    layer: LinearLayer
    penalty: float
    errors: list[float]


def ridge(features: Tensor, labels: Tensor, classes: int, penalties: Sequence[float] = RIDGE_REGULARIZERS) -> RidgeFit:
    """Minimises |X W^T + b - Y|^2 + penalty |W|^2 on one-hot Y, the penalty with the least leave-one-out error.

    Features [N, D], labels [N]. That error needs no refitting: residual / (1 - leverage) (PRESS, Allen
    1974; "Generalized Cross-Validation as a Method for Choosing a Good Ridge Parameter", Golub 1979).
    """
    summed = moments(features, labels, classes)
    values, vectors = torch.linalg.eigh(summed.scatter)
    values.clamp_(min=0)
    targets = vectors.T @ summed.between().T
    solutions = [targets / (values + penalty)[:, None] for penalty in penalties]
    errors = _left_out_errors(features, labels, summed, vectors, values, solutions, penalties)
    best = min(range(len(penalties)), key=errors.__getitem__)
    weight = (vectors @ solutions[best]).T
    bias = summed.class_counts / summed.samples - weight @ summed.mean
    layer = LinearLayer(weight.to(features.dtype).contiguous(), bias.to(features.dtype))
    return RidgeFit(layer, penalties[best], errors)


def _left_out_errors(
    features: Tensor,
    labels: Tensor,
    summed: Moments,
    vectors: Tensor,
    values: Tensor,
    solutions: Sequence[Tensor],
    penalties: Sequence[float],
) -> list[float]:
    """Mean squared error of each penalty over samples and classes, each sample predicted without itself."""
    classes = len(summed.class_counts)
    shrinkage = torch.stack([1 / (values + penalty) for penalty in penalties], dim=1)
    squares = torch.zeros(len(penalties), dtype=torch.float64, device=features.device)
    at_once = rows_at_once(max(features.shape[1], classes))
    for rows, part in zip(row_blocks(features, at_once), labels.split(at_once), strict=True):
        rotated = (rows - summed.mean) @ vectors
        left = 1 - 1 / summed.samples - rotated.square() @ shrinkage
        wanted = F.one_hot(part, classes) - summed.class_counts / summed.samples
        for index, solution in enumerate(solutions):
            squares[index] += ((wanted - rotated @ solution) / left[:, index, None]).square().sum()
    return (squares / (summed.samples * classes)).tolist()
