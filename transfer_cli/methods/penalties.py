"""Penalties that keep finetuned weights or features near their source, or shrink features that do not transfer.

Shapes: feature maps [B, C, ...] with channels second; features [B, D].
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor


def l2_sp(parameters: Mapping[str, Tensor], start: Mapping[str, Tensor], alpha: float, beta: float) -> Tensor:
    """alpha/2 ||w - w0||^2 over parameters that have a start, beta/2 ||w||^2 over the new ones: the head.

    "Explicit Inductive Bias for Transfer Learning with Convolutional Networks" (L2-SP, Li 2018, arXiv 1802.01483).
    """
    near = [(value - start[name]).square().sum() for name, value in parameters.items() if name in start]
    small = [value.square().sum() for name, value in parameters.items() if name not in start]
    return alpha / 2 * _total(near) + beta / 2 * _total(small)


def delta(features: Sequence[Tensor], source: Sequence[Tensor], weights: Sequence[Tensor]) -> Tensor:
    """Attention-weighted distance to the source network's feature maps, for each tapped layer.

    "DELTA: DEep Learning Transfer using Feature Map with Attention" (Li 2019, arXiv 1901.09229).
    1/2 sum over channels j of C w_j mean((f_j - s_j)^2), with `weights` w [C] that sum to 1; added over layers,
    averaged over the batch (the authors' code sums over it: their factor is ours divided by the batch size).
    """
    layers = []
    for ours, theirs, weight in zip(features, source, weights, strict=True):
        gap = (ours.float() - theirs.detach().float()).square().flatten(2 if ours.ndim > 2 else 1)
        per_channel = gap.mean(2) if ours.ndim > 2 else gap
        layers.append(0.5 * len(weight) * (per_channel * weight).sum(1).mean())
    return _total(layers)


@torch.no_grad()
def loss_increases(features: Tensor, loss_from: Callable[[Tensor], Tensor]) -> Tensor:
    """How much the loss grows when a channel of `features` [B, C, ...] is set to 0, for each channel, [C] (DELTA).

    `loss_from` runs the rest of the source network, with a head trained on the new data, to the mean loss.
    """
    full = loss_from(features)
    without = []
    for channel in range(features.shape[1]):
        silenced = features.clone()
        silenced[:, channel] = 0
        without.append(loss_from(silenced))
    return torch.stack(without) - full


def attention_weights(increases: Tensor) -> Tensor:
    """The weight of each channel for DELTA, [C], summing to 1, from its loss increase.

    Softmax of the increases over five standard deviations, as in the authors' code: raw ones are all near zero.
    """
    spread = increases.std(correction=0).clamp_min(torch.finfo(increases.dtype).tiny)
    return (increases / spread / 5).softmax(0)


def bss(features: Tensor, k: int) -> Tensor:
    """Batch spectral shrinkage (BSS): the sum of squares of the k smallest singular values of features [B, D].

    "Catastrophic Forgetting Meets Negative Transfer: Batch Spectral Shrinkage for Safe Transfer Learning" (Chen 2019).
    """
    values: Tensor = torch.linalg.svdvals(features.float())
    return values[-k:].square().sum()


def _total(terms: Sequence[Tensor]) -> Tensor:
    return torch.stack(list(terms)).sum() if terms else torch.zeros(())
