"""Scores against direct maximisation, by hand, and the invariances that their definitions imply."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.methods.probes.clusters import clusters
from transfer_cli.methods.probes.moments import moments
from transfer_cli.methods.probes.transferability import (
    h_score,
    ledoit_wolf_shrinkage,
    log_me,
    shrunk_h_score,
)

CLASSES = 3


def rotation(width: int) -> Tensor:
    return torch.linalg.qr(torch.randn(width, width, dtype=torch.float64, generator=torch.Generator().manual_seed(3)))[
        0
    ]


def highest_evidence(features: Tensor, target: Tensor) -> float:
    """Maximum over alpha, beta of log N(y; 0, I / beta + F F^T / alpha), from the definition alone."""
    from scipy.optimize import minimize
    from scipy.stats import multivariate_normal

    n = len(target)
    outer = (features @ features.T).numpy()

    def minus_evidence(logs: np.ndarray) -> float:
        covariance = np.eye(n) / np.exp(logs[1]) + outer / np.exp(logs[0])
        return -float(multivariate_normal.logpdf(target.numpy(), np.zeros(n), covariance))

    starts = [(a, b) for a in (0.0, 5.0) for b in (0.0, 2.0)]
    bounds = [(-8, 12), (-8, 12)]
    return max(-minimize(minus_evidence, at, method="Nelder-Mead", tol=1e-9, bounds=bounds).fun for at in starts)


@pytest.mark.parametrize(("samples", "width"), [(60, 5), (24, 40)], ids=["tall", "wide"])
def test_log_me_is_the_highest_evidence(samples: int, width: int) -> None:
    features, labels = clusters(samples, width, CLASSES, spread=3.0)
    direct = [highest_evidence(features, (labels == k).double()) for k in range(CLASSES)]
    assert log_me(moments(features, labels, CLASSES)) == pytest.approx(sum(direct) / CLASSES / samples, abs=1e-6)


def test_log_me_does_not_see_rotations_or_scale() -> None:
    features, labels = clusters(80, 6, CLASSES)
    expected = log_me(moments(features, labels, CLASSES))
    assert log_me(moments(features @ rotation(6), labels, CLASSES)) == pytest.approx(expected, rel=1e-9)
    assert log_me(moments(features * 7, labels, CLASSES)) == pytest.approx(expected, rel=1e-6)
    assert log_me(moments(features.float(), labels, CLASSES)) == pytest.approx(expected, rel=1e-5)


def test_log_me_ranks_by_separation_and_leaves_absent_classes_out() -> None:
    near, far = (clusters(90, 6, CLASSES, spread=spread) for spread in (3.0, 0.5))
    assert log_me(moments(*far, CLASSES)) > log_me(moments(*near, CLASSES)) + 0.1
    assert log_me(moments(*near, CLASSES + 2)) == log_me(moments(*near, CLASSES))


def test_log_me_of_features_that_say_nothing_or_everything_is_finite() -> None:
    labels = torch.arange(30) % 2
    assert math.isfinite(log_me(moments(torch.zeros(30, 4), labels, 2)))
    assert math.isfinite(log_me(moments(torch.eye(2)[labels], labels, 2)))


def test_h_score_by_hand() -> None:
    """Classes at -1 and 1, each with deviation s: total variance 1 + s^2, of which 1 lies between the classes."""
    s = 0.5
    features = torch.tensor([[-1 - s], [-1 + s], [1 - s], [1 + s]])
    summed = moments(features, torch.tensor([0, 0, 1, 1]), 2)
    assert h_score(summed) == pytest.approx(1 / (1 + s**2))
    # One feature: the identity's multiple is the variance itself, so that only the factor is left.
    assert shrunk_h_score(summed) == pytest.approx((1 - ledoit_wolf_shrinkage(summed)) / (1 + s**2))


def test_h_score_is_the_trace_of_its_definition_for_any_basis() -> None:
    features, labels = clusters(90, 6, CLASSES)
    means = torch.stack([features[labels == k].mean(0) for k in range(CLASSES)])[labels]
    expected = torch.trace(torch.linalg.pinv(features.T.cov()) @ means.T.cov()).item()
    mixing = torch.randn(6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    assert h_score(moments(features, labels, CLASSES)) == pytest.approx(expected, rel=1e-9)
    assert h_score(moments(features @ mixing, labels, CLASSES)) == pytest.approx(expected, rel=1e-6)
    twice = torch.cat([features, features], dim=1)  # singular: what the pseudo-inverse is for
    assert h_score(moments(twice, labels, CLASSES)) == pytest.approx(expected, rel=1e-6)


def test_fewer_samples_than_features_saturate_only_the_plain_h_score() -> None:
    near, far = (moments(*clusters(20, 50, CLASSES, spread=spread), CLASSES) for spread in (5.0, 0.5))
    assert h_score(near) == pytest.approx(CLASSES - 1, rel=1e-6)
    assert h_score(far) == pytest.approx(CLASSES - 1, rel=1e-6)
    assert shrunk_h_score(far) > shrunk_h_score(near) + 0.5


@pytest.mark.parametrize(("samples", "width"), [(90, 6), (20, 50)])
def test_shrinkage_is_that_of_scikit_learn(samples: int, width: int) -> None:
    from sklearn.covariance import ledoit_wolf

    features, labels = clusters(samples, width, CLASSES)
    covariance, shrinkage = ledoit_wolf(features.numpy())
    summed = moments(features, labels, CLASSES)
    assert ledoit_wolf_shrinkage(summed) == pytest.approx(shrinkage, rel=1e-9)
    means = torch.stack([features[labels == k].mean(0) for k in range(CLASSES)])[labels]
    expected = (1 - shrinkage) * np.trace(np.linalg.inv(covariance) @ np.cov(means.numpy(), rowvar=False, bias=True))
    assert shrunk_h_score(summed) == pytest.approx(expected, rel=1e-9)
