"""A backbone that separates the classes ranks above one that does not, by every score."""

from __future__ import annotations

import torch

from tests.methods.clusters import clusters
from transfer_cli.methods.ranking import BackboneScores, backbone_scores


def scores_at(spread: float) -> BackboneScores:
    train, val = (clusters(200, 16, 5, seed=seed, spread=spread, dtype=torch.float32) for seed in (0, 1))
    return backbone_scores(*train, *val, 5)


def test_every_score_prefers_the_better_backbone() -> None:
    better, worse = scores_at(1.0), scores_at(4.0)
    assert all(high > low for high, low in zip(better, worse, strict=True))


def test_accuracies_are_those_of_validation() -> None:
    """Labels of validation that say nothing bring them down to chance, whatever training looks like."""
    train = clusters(200, 16, 5, spread=0.3)
    features, labels = clusters(400, 16, 5, seed=1, spread=0.3)
    shuffled = labels[torch.randperm(400, generator=torch.Generator().manual_seed(0))]
    found = backbone_scores(*train, features, shuffled, 5)
    for accuracy in (found.knn_accuracy, found.ncm_accuracy, found.probe_accuracy):
        assert 0.1 < accuracy < 0.3
