"""Class means as layers predict what distances and cosines say."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from tests.methods.probes.clusters import clusters
from transfer_cli.errors import UserError
from transfer_cli.methods.probes.class_means import class_means, cosine_means, euclidean_means

FEATURES, LABELS = clusters(80, 6, 4)
QUERIES, _ = clusters(200, 6, 4, seed=1)


def test_means(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("transfer_cli.methods.probes.linear_layer._NUMBERS_AT_ONCE", 50)
    means = class_means(FEATURES, LABELS, 4)
    torch.testing.assert_close(means, torch.stack([FEATURES[k == LABELS].mean(0) for k in range(4)]))


def test_euclidean_layer_predicts_the_nearest_mean() -> None:
    from sklearn.neighbors import NearestCentroid

    layer = euclidean_means(FEATURES, LABELS, 4)
    expected = NearestCentroid().fit(FEATURES.numpy(), LABELS.numpy()).predict(QUERIES.numpy())
    assert torch.equal(layer.logits(QUERIES).argmax(1), torch.from_numpy(expected))
    distances = torch.cdist(QUERIES, class_means(FEATURES, LABELS, 4)).square()
    torch.testing.assert_close(
        layer.logits(QUERIES), (QUERIES.square().sum(1, keepdim=True) - distances) / 2, rtol=1e-9, atol=1e-9
    )


def test_cosine_layer_gives_cosines_and_predicts_the_same_unnormalised() -> None:
    layer = cosine_means(FEATURES, LABELS, 4)
    directions = torch.stack([F.normalize(FEATURES, dim=1)[k == LABELS].mean(0) for k in range(4)])
    cosines = torch.cosine_similarity(QUERIES[:, None], directions[None], dim=2)
    torch.testing.assert_close(layer.logits(F.normalize(QUERIES, dim=1)), cosines)
    assert torch.equal(layer.logits(QUERIES).argmax(1), cosines.argmax(1))


def test_layers_come_in_the_features_type() -> None:
    for build in (euclidean_means, cosine_means):
        layer = build(FEATURES.float(), LABELS, 4)
        assert layer.weight.dtype == layer.bias.dtype == torch.float32


def test_a_class_without_samples_is_named() -> None:
    with pytest.raises(UserError, match="no training samples of class 4, 5"):
        cosine_means(FEATURES, LABELS, 6)
