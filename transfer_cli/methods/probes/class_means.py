"""Nearest class mean: one vector a class, nothing to tune.

Legend: N samples, D feature width, K classes.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from transfer_cli.errors import UserError
from transfer_cli.methods.probes.linear_layer import LinearLayer, rows_at_once


def class_means(features: Tensor, labels: Tensor, classes: int) -> Tensor:
    """Means [K, D] in float64 of features [N, D] with labels [N]. Raises UserError for a class without samples."""
    return _mean_of(features, labels, classes, unit=False)


def euclidean_means(features: Tensor, labels: Tensor, classes: int) -> LinearLayer:
    """The class whose mean is nearest, as a linear layer: x m - |m|^2 / 2 (Mensink 2013 with no metric learned).

    Its logits are half the squared distances, negated, plus |x|^2 / 2. Raises UserError as `class_means`.
    """
    means = class_means(features, labels, classes)
    return LinearLayer(means.to(features.dtype), (means.square().sum(1) / -2).to(features.dtype))


def cosine_means(features: Tensor, labels: Tensor, classes: int) -> LinearLayer:
    """The mean direction of each class as a layer without bias: on features of unit length its logits are cosines.

    On features of any length it predicts the same classes, for length scales all logits of a sample alike; only the
    confidences differ. So it can be exported with or without normalisation. Raises UserError as `class_means`.
    """
    directions = F.normalize(_mean_of(features, labels, classes, unit=True), dim=1)
    return LinearLayer(
        directions.to(features.dtype), torch.zeros(classes, dtype=features.dtype, device=features.device)
    )


def _mean_of(features: Tensor, labels: Tensor, classes: int, *, unit: bool) -> Tensor:
    counts = torch.bincount(labels, minlength=classes)
    if not counts.all():
        absent = (counts == 0).nonzero().flatten().tolist()
        raise UserError(f"nearest class mean: no training samples of class {', '.join(map(str, absent))}.")
    sums = torch.zeros(classes, features.shape[1], dtype=torch.float64, device=features.device)
    rows = rows_at_once(features.shape[1])
    for part, of_class in zip(features.split(rows), labels.split(rows), strict=True):
        sums.index_add_(0, of_class, F.normalize(part.double(), dim=1) if unit else part.double())
    return sums / counts[:, None]
