"""Classification losses. Each returns one value per sample, [B], so that means survive splitting a batch.

Shapes: logits [B, K]; targets are class numbers [B] int64 or probabilities [B, K] (mixup, soft labels).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from transfer_cli.errors import UserError
from transfer_cli.methods.full_precision import full_precision


@full_precision
def cross_entropy(
    logits: Tensor,
    targets: Tensor,
    *,
    smoothing: float = 0.0,
    class_weights: Tensor | None = None,
    adjustment: Tensor | None = None,
) -> Tensor:
    """Cross-entropy with label smoothing: `smoothing` of each target is spread over all classes.

    "Rethinking the Inception Architecture" (Szegedy 2016, arXiv 1512.00567). `class_weights` [K] scales the term of
    each class; `adjustment` [K] is added to the logits (`logit_adjustment`).
    """
    shifted = logits if adjustment is None else logits + adjustment
    return F.cross_entropy(shifted, targets, weight=class_weights, label_smoothing=smoothing, reduction="none")


@full_precision
def focal(
    logits: Tensor, targets: Tensor, *, gamma: float, smoothing: float = 0.0, class_weights: Tensor | None = None
) -> Tensor:
    """Focal loss: the term of each class scaled by (1 - p)^gamma; gamma 0 is cross-entropy.

    "Focal Loss for Dense Object Detection" (Lin 2017, arXiv 1708.02002).
    """
    log_p = logits.log_softmax(1)
    # Where p rounds to 1 the power of 0 has no finite slope for gamma below 1.
    missing = (-torch.expm1(log_p)).clamp_min(torch.finfo(log_p.dtype).eps)
    terms = -smoothed(targets, logits.shape[1], smoothing) * missing**gamma * log_p
    return (terms if class_weights is None else terms * class_weights).sum(1)


def smoothed(targets: Tensor, classes: int, smoothing: float) -> Tensor:
    """Probabilities [B, K]: (1 - smoothing) of the target and smoothing / K for every class."""
    soft = targets if targets.ndim == 2 else F.one_hot(targets, classes)
    return (1 - smoothing) * soft.float() + smoothing / classes


def logit_adjustment(counts: Tensor, tau: float = 1.0) -> Tensor:
    """tau times the log of each class's share of the training images, [K].

    Cross-entropy on logits shifted by it trains the unshifted ones as if all classes were equally frequent ("Long-tail
    learning via logit adjustment", Menon 2021, arXiv 2007.07314).
    Raises UserError for a class without images.
    """
    empty = (counts <= 0).nonzero().flatten().tolist()
    if empty:
        raise UserError(f"class {empty[0]} has no training images: logit adjustment needs some of every class.")
    return tau * (counts / counts.sum()).log()
