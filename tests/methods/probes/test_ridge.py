"""Ridge against scikit-learn, and its leave-one-out errors against leaving one out."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from tests.methods.probes.clusters import clusters
from transfer_cli.methods.probes.ridge import ridge

REGULARIZERS = [0.01, 0.3, 4.0, 30.0, 1000.0]


@pytest.mark.parametrize(("samples", "width"), [(90, 6), (40, 60)], ids=["tall", "wide"])
def test_agrees_with_scikit_learn(samples: int, width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """It fits -1 and 1 where we fit 0 and 1: twice the coefficients, four times the errors, the same classes."""
    from sklearn.linear_model import RidgeClassifierCV

    monkeypatch.setattr("transfer_cli.methods.probes.linear_layer._NUMBERS_AT_ONCE", 300)
    features, labels = clusters(samples, width, 4, spread=3.0)
    found = ridge(features, labels, 4, REGULARIZERS)
    theirs = RidgeClassifierCV(REGULARIZERS, store_cv_results=True).fit(features.numpy(), labels.numpy())
    assert found.penalty == theirs.alpha_
    np.testing.assert_allclose(found.layer.weight, theirs.coef_ / 2, rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(found.layer.bias, (theirs.intercept_ + 1) / 2, rtol=1e-7)
    np.testing.assert_allclose(found.errors, theirs.cv_results_.mean((0, 1)) / 4, rtol=1e-7)


def test_errors_are_those_of_leaving_one_out() -> None:
    features, labels = clusters(25, 4, 3)
    found = ridge(features, labels, 3, [2.0])
    squares = []
    for left in range(25):
        kept = torch.arange(25) != left
        alone = ridge(features[kept], labels[kept], 3, [2.0]).layer
        squares.append((alone.logits(features[[left]]) - F.one_hot(labels[[left]], 3)).square().mean())
    assert found.errors[0] == pytest.approx(torch.stack(squares).mean().item(), rel=1e-9)


def test_float32_features_give_a_float32_layer_of_the_same_values() -> None:
    features, labels = clusters(90, 6, 4)
    wide, narrow = ridge(features, labels, 4), ridge(features.float(), labels, 4)
    assert narrow.layer.weight.dtype == torch.float32
    assert narrow.penalty == wide.penalty
    torch.testing.assert_close(narrow.layer.weight.double(), wide.layer.weight, rtol=1e-4, atol=1e-6)
