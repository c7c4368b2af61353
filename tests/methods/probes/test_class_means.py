"""Class means as a layer predict what cosines say."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from tests.methods.probes.clusters import clusters
from transfer_cli.errors import UserError
from transfer_cli.methods.probes.class_means import cosine_means

FEATURES, LABELS = clusters(80, 6, 4)
QUERIES, _ = clusters(200, 6, 4, seed=1)


def test_cosine_layer_gives_cosines_and_predicts_the_same_unnormalised(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("transfer_cli.methods.probes.linear_layer._NUMBERS_AT_ONCE", 50)
    layer = cosine_means(FEATURES, LABELS, 4)
    directions = torch.stack([F.normalize(FEATURES, dim=1)[k == LABELS].mean(0) for k in range(4)])
    cosines = torch.cosine_similarity(QUERIES[:, None], directions[None], dim=2)
    torch.testing.assert_close(layer.logits(F.normalize(QUERIES, dim=1)), cosines)
    assert torch.equal(layer.logits(QUERIES).argmax(1), cosines.argmax(1))


def test_the_layer_is_of_the_features_type() -> None:
    layer = cosine_means(FEATURES.float(), LABELS, 4)
    assert layer.weight.dtype == layer.bias.dtype == torch.float32


def test_a_class_without_samples_is_named() -> None:
    with pytest.raises(UserError, match="no training samples of class 4, 5"):
        cosine_means(FEATURES, LABELS, 6)
