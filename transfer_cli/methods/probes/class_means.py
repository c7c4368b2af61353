"""Nearest class mean: one vector a class, nothing to tune.

Legend: N samples, D feature width, K classes.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from transfer_cli.errors import UserError
from transfer_cli.methods.probes.linear_layer import LinearLayer, rows_at_once


def cosine_means(features: Tensor, labels: Tensor, classes: int) -> LinearLayer:
    """The mean direction of each class as a layer without bias, from features [N, D] with labels [N].

    On features of unit length its logits are cosines. On others it predicts the same classes, since length scales all
    logits of a sample alike; only the confidences differ. So it can be exported with or without normalisation. Raises
    UserError for a class without samples.
    """
    counts = torch.bincount(labels, minlength=classes)
    if not counts.all():
        absent = (counts == 0).nonzero().flatten().tolist()
        raise UserError(f"nearest class mean: no training samples of class {', '.join(map(str, absent))}.")
    sums = torch.zeros(classes, features.shape[1], dtype=torch.float64, device=features.device)
    rows = rows_at_once(features.shape[1])
    for part, of_class in zip(features.split(rows), labels.split(rows), strict=True):
        sums.index_add_(0, of_class, F.normalize(part.double(), dim=1))
    directions = F.normalize(sums / counts[:, None], dim=1).to(features.dtype)
    return LinearLayer(directions, directions.new_zeros(classes))
