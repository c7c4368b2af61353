"""A backbone that separates the classes ranks above one that does not, by every score."""

from __future__ import annotations

import pytest
import torch

from tests.methods.probes.clusters import clusters
from transfer_cli.methods.probes.linear_layer import standardiser
from transfer_cli.methods.probes.ranking import BackboneScores, backbone_scores
from transfer_cli.methods.probes.ridge import ridge


def scores_at(spread: float) -> BackboneScores:
    train, val = (clusters(200, 16, 5, seed=seed, spread=spread, dtype=torch.float32) for seed in (0, 1))
    return backbone_scores(*train, *val, 5)


def test_every_score_prefers_the_better_backbone() -> None:
    better, worse = scores_at(1.0), scores_at(4.0)
    assert all(high > low for high, low in zip(better, worse, strict=True))


def test_the_probe_is_the_ridge_of_standardised_features() -> None:
    """Far from the origin and with unequal scales, which folding must undo on validation."""
    (train, labels), (val, val_labels) = (clusters(150, 8, 4, seed=seed, spread=2.0) for seed in (0, 1))
    train, val = (features * torch.logspace(-2, 2, 8) + 30 for features in (train, val))
    scale = standardiser(train)
    expected = ridge(scale.apply(train), labels, 4).layer.accuracy(scale.apply(val), val_labels)
    assert expected > 0.5
    assert backbone_scores(train, labels, val, val_labels, 4).probe_accuracy == pytest.approx(expected)


def test_accuracies_are_those_of_validation() -> None:
    """Labels of validation that say nothing bring them down to chance, whatever training looks like."""
    train = clusters(200, 16, 5, spread=0.3)
    features, labels = clusters(400, 16, 5, seed=1, spread=0.3)
    shuffled = labels[torch.randperm(400, generator=torch.Generator().manual_seed(0))]
    found = backbone_scores(*train, features, shuffled, 5)
    for accuracy in (found.knn_accuracy, found.ncm_accuracy, found.probe_accuracy):
        assert 0.1 < accuracy < 0.3
