"""Multinomial logistic regression by L-BFGS, its penalty swept on validation.

The linear probe of "Do Better ImageNet Models Transfer Better?" (Kornblith 2019, arXiv 1805.08974) and of CLIP
(Radford 2021, arXiv 2103.00020, appendix A.3). Ours rather than scikit-learn's: products run on the features' device
in parts, and without an import of 1.1 s. Legend: N samples, D feature width, K classes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from transfer_cli.methods.probes.linear_layer import LinearLayer, rows_at_once

# Decimal exponents of the penalty: first these, then finer and finer around the best, down to eight a decade.
_COARSE_EXPONENTS = (6.0, 4.0, 2.0, 0.0, -2.0, -4.0, -6.0)
_FINER_STEPS = (1.0, 0.5, 0.25, 0.125)


class LogisticFit(NamedTuple):
    """The layer, in the features' type, and whether the gradient fell below the tolerance."""

    layer: LinearLayer
    penalty: float
    iterations: int
    converged: bool


class Trial(NamedTuple):
    """A penalty with its validation accuracy and mean cross-entropy in nats."""

    penalty: float
    accuracy: float
    loss: float
    iterations: int
    rank: tuple[float, float]
    """Where it stands on validation, the larger the better."""


class Sweep(NamedTuple):
    """The fit that is best on validation, and all that were tried, in order."""

    best: LogisticFit
    trials: list[Trial]


def fit_logistic(
    features: Tensor,
    labels: Tensor,
    classes: int,
    penalty: float,
    *,
    start: LinearLayer | None = None,
    max_iterations: int = 1000,
    tolerance: float = 1e-4,
) -> LogisticFit:
    """Minimises the sum of cross-entropies + penalty / 2 |W|^2: features [N, D], labels [N]; penalty is 1 / C of
    scikit-learn's multinomial regression. That of two classes has one weight vector where this has two, opposite and
    half as long: its penalty equals ours at C = 2 / penalty.

    Products run in the features' own type and on their device, scipy's L-BFGS-B in float64. Stops where no component
    of the gradient of objective / N exceeds `tolerance`, as scikit-learn's LogisticRegression does.
    """
    from scipy.optimize import minimize

    width = features.shape[1]
    begin = torch.zeros(classes, width + 1, dtype=torch.float64) if start is None else _joined(start)

    def objective(flat: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        weights = torch.from_numpy(flat).view(classes, width + 1)
        loss, slope = _loss_and_slope(features, labels, _parted(weights, features))
        penalised = weights[:, :width]
        slope[:, :width] += penalty * penalised
        value = loss + penalty / 2 * float(penalised.square().sum())
        return value / len(labels), (slope / len(labels)).flatten().numpy()

    stop = {"maxiter": max_iterations, "maxls": 50, "gtol": tolerance, "ftol": 64 * np.finfo(float).eps}
    found: Any = minimize(objective, begin.flatten().numpy(), method="L-BFGS-B", jac=True, options=stop)
    layer = _parted(torch.from_numpy(found.x).view(classes, width + 1), features)
    converged = bool(np.abs(found.jac).max() <= tolerance)
    return LogisticFit(layer, penalty, int(found.nit), converged)


def sweep_logistic(
    features: Tensor,
    labels: Tensor,
    val_features: Tensor,
    val_labels: Tensor,
    classes: int,
    *,
    rank: Callable[[Tensor], tuple[float, float]],
    least: Callable[[float], float] = lambda score: score,
    exponents: Sequence[float] = _COARSE_EXPONENTS,
    finer_steps: Sequence[float] = _FINER_STEPS,
    max_iterations: int = 1000,
) -> Sweep:
    """The penalty 10^e whose validation logits [N, K] `rank` highest: CLIP's parametric binary search.

    Coarse exponents from the strongest penalty to the weakest, each started from the last fit; then, with every finer
    step, the two neighbours of the best so far, started from it. Of all whose score, the first of the rank, is at least
    `least` of the highest, the one with the lowest loss is the best: more would be chance.
    """
    tried: dict[float, tuple[LogisticFit, Trial]] = {}

    def attempt(exponent: float, start: LinearLayer | None) -> LinearLayer:
        fit = fit_logistic(features, labels, classes, 10**exponent, start=start, max_iterations=max_iterations)
        accuracy = fit.layer.accuracy(val_features, val_labels)
        logits = fit.layer.logits(val_features)
        loss = float(F.cross_entropy(logits, val_labels))
        tried[exponent] = fit, Trial(fit.penalty, accuracy, loss, fit.iterations, rank(logits))
        return fit.layer

    def best() -> float:
        return max(tried, key=lambda exponent: tried[exponent][1].rank)

    layer = None
    for exponent in sorted(exponents, reverse=True):
        layer = attempt(exponent, layer)
    for step in finer_steps:
        centre = best()
        for exponent in (centre + step, centre - step):
            if exponent not in tried and min(exponents) <= exponent <= max(exponents):
                attempt(exponent, tried[centre][0].layer)
    bound = least(tried[best()][1].rank[0])
    found, _ = min((one for one in tried.values() if one[1].rank[0] >= bound), key=lambda one: one[1].loss)
    return Sweep(found, [trial for _, trial in tried.values()])


def _loss_and_slope(features: Tensor, labels: Tensor, layer: LinearLayer) -> tuple[float, Tensor]:
    """Summed cross-entropy and its gradient by weights and bias, [K, D + 1] float64 on the host; rows in parts."""
    loss = torch.zeros((), dtype=torch.float64, device=features.device)
    slope = torch.zeros(len(layer.bias), features.shape[1] + 1, dtype=torch.float64, device=features.device)
    rows = rows_at_once(max(len(layer.bias), 64))
    for part, truth in zip(features.split(rows), labels.split(rows), strict=True):
        log_p = layer.logits(part).log_softmax(1)
        loss -= log_p.gather(1, truth[:, None]).sum(dtype=torch.float64)
        excess = log_p.exp_().scatter_add_(1, truth[:, None], log_p.new_full((len(truth), 1), -1.0))
        slope[:, :-1] += excess.T @ part
        slope[:, -1] += excess.sum(0)
    return float(loss), slope.cpu()


def _joined(layer: LinearLayer) -> Tensor:
    """Weights and bias as one float64 tensor [K, D + 1] on the host."""
    return torch.cat([layer.weight, layer.bias[:, None]], dim=1).double().cpu()


def _parted(weights: Tensor, features: Tensor) -> LinearLayer:
    """The inverse of `_joined`, in the type and on the device of the features."""
    return LinearLayer(weights[:, :-1].to(features).contiguous(), weights[:, -1].to(features).contiguous())
