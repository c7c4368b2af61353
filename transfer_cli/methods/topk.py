"""The K logits of a teacher in k numbers: what is kept exactly, and how the rest is spread.

Kept: the k largest logits, and the total probability of the others at temperature 1. Lost: how that total divides
among the others. They come back as equals; so at a temperature above 1 the others together get somewhat more than
they had, and below 1 less. With k = K nothing is lost. Any temperature can be taken afterwards.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from transfer_cli.errors import UserError


class TopLogits(NamedTuple):
    """`values` [B, k] in falling order, their `indices` [B, k] int32, and `rest` [B], log-sum-exp of the others."""

    values: Tensor
    indices: Tensor
    rest: Tensor


def compress(logits: Tensor, k: int) -> TopLogits:
    """The k largest of logits [B, K], in their own dtype. Raises UserError for k below 1 or above K."""
    classes = logits.shape[1]
    if not 1 <= k <= classes:
        raise UserError(f"strategy.teacher.top_k={k}: the teacher has {classes} classes; say 1 to {classes}.")
    values, indices = logits.sort(dim=1, descending=True, stable=True)
    rest = values[:, k:].float().logsumexp(1).to(logits.dtype)
    return TopLogits(values[:, :k].contiguous(), indices[:, :k].to(torch.int32).contiguous(), rest)


def expand(stored: TopLogits, classes: int) -> Tensor:
    """Logits [B, K] whose softmax at any temperature T is softmax(expand(...) / T); exact where k = K."""
    others = classes - stored.values.shape[1]
    even = (stored.rest - math.log(max(others, 1)))[:, None].expand(-1, classes)
    return even.scatter(1, stored.indices.long(), stored.values)
