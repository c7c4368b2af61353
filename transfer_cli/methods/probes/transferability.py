"""How well a backbone suits a data set, before any training: larger is better, within one data set.

Legend: N samples, D feature width, K classes.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from transfer_cli.methods.probes.moments import Moments, spectrum

_MAX_ITERATIONS = 200
_TOLERANCE = 1e-6


def log_me(moments: Moments) -> float:
    """Maximum evidence of a Bayesian linear model of each one-hot class, per sample in nats (LogME, You 2021).

    Mean over the classes that occur; alpha (prior) and beta (noise) by MacKay's fixed point, for all classes at once.
    """
    sigma, vectors = spectrum(moments.scatter + moments.samples * torch.outer(moments.mean, moments.mean))
    occurring = moments.class_counts > 0
    targets = moments.class_counts[occurring]  # one-hot: its squared length is its count
    projected = moments.class_sums[occurring] @ vectors
    explained = projected.square() / sigma
    unexplained = (targets - explained.sum(1)).clamp_min(0)
    n, ratio = moments.samples, torch.ones_like(targets)
    for _ in range(_MAX_ITERATIONS):
        before = ratio
        length, residual = _posterior(ratio, sigma, projected, explained, unexplained)
        effective = (sigma / (ratio[:, None] + sigma)).sum(1)
        alpha, beta = effective / length, (n - effective) / residual
        ratio = alpha / beta
        if (ratio / before - 1).abs().max() < _TOLERANCE:
            break
    length, residual = _posterior(ratio, sigma, projected, explained, unexplained)
    fit = n * torch.log(beta / (2 * math.pi)) - beta * residual - alpha * length
    evidence = (fit - torch.log1p(sigma / ratio[:, None]).sum(1)) / 2
    return float(evidence.mean() / n)


def _posterior(
    ratio: Tensor, sigma: Tensor, projected: Tensor, explained: Tensor, unexplained: Tensor
) -> tuple[Tensor, Tensor]:
    """|m|^2 and |F m - y|^2 of each class's posterior mean m at ratio = alpha / beta, [K] each and never zero."""
    denominator = ratio[:, None] + sigma
    length = (projected / denominator).square().sum(1)
    residual = (explained * (ratio[:, None] / denominator).square()).sum(1) + unexplained
    precision = torch.finfo(sigma.dtype)
    return length.clamp_min(precision.tiny), residual.clamp_min(precision.eps)


def h_score(moments: Moments) -> float:
    """trace(pinv(cov f) cov(E[f | y])) (Bao 2019), between 0 and K - 1; the pseudo-inverse drops what is rounding.

    With fewer samples than features any backbone reaches K - 1; `shrunk_h_score` still tells them apart.
    """
    values, vectors = spectrum(moments.scatter)
    return float((_class_mean_spread(moments, vectors) / values).sum())


def shrunk_h_score(moments: Moments) -> float:
    """H-score with the covariance shrunk towards a multiple of the identity (Ibrahim 2021; Ledoit & Wolf 2004)."""
    values, vectors = torch.linalg.eigh(moments.scatter / moments.samples)
    shrinkage = ledoit_wolf_shrinkage(moments)
    shrunk = (1 - shrinkage) * values.clamp_min(0) + shrinkage * values.mean()
    spread = _class_mean_spread(moments, vectors) / moments.samples
    return float((1 - shrinkage) * (spread / shrunk.clamp_min(torch.finfo(shrunk.dtype).tiny)).sum())


def ledoit_wolf_shrinkage(moments: Moments) -> float:
    """The weight of the identity, in [0, 1], that minimises the expected squared error of the covariance."""
    n, width = moments.samples, len(moments.mean)
    squared = moments.scatter.square().sum() / n**2
    variance = moments.scatter.trace() / n
    noise = (moments.fourth / n - squared) / n
    distance = squared - variance**2 / width
    return float((noise / distance).clamp(0, 1)) if distance > 0 else 0.0


def _class_mean_spread(moments: Moments, vectors: Tensor) -> Tensor:
    """Along each of R directions [D, R]: the sum over samples of (mean of its class - mean)^2, [R]."""
    between = moments.between() @ vectors
    return (between.square() / moments.class_counts.clamp_min(1)[:, None]).sum(0)
