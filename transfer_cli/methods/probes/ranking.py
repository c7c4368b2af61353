"""All scores of one backbone on one data set, for choosing a backbone before any training.

Legend: N training and V validation samples, D feature width, K classes.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from transfer_cli.methods.probes.class_means import cosine_means
from transfer_cli.methods.probes.linear_layer import standardiser
from transfer_cli.methods.probes.moments import moments
from transfer_cli.methods.probes.neighbours import knn_accuracies
from transfer_cli.methods.probes.ridge import ridge
from transfer_cli.methods.probes.transferability import h_score, log_me, shrunk_h_score

_NEIGHBOURS = 20


class BackboneScores(NamedTuple):
    """Larger is better for each. The first three need no validation samples; accuracies are on validation."""

    log_me: float
    h_score: float
    shrunk_h_score: float
    knn_accuracy: float
    """20 neighbours, DINO votes."""
    ncm_accuracy: float
    """Cosine to the mean direction of each class."""
    probe_accuracy: float
    """Ridge on standardised features, its penalty by leave-one-out error."""


def backbone_scores(
    features: Tensor, labels: Tensor, val_features: Tensor, val_labels: Tensor, classes: int
) -> BackboneScores:
    """Scores from features [N, D] and [V, D] with labels [N] and [V] in range(classes).

    Raises UserError for a class without training samples.
    """
    means = cosine_means(features, labels, classes)
    summed = moments(features, labels, classes)
    scale = standardiser(features)
    probe = scale.fold(ridge(scale.apply(features), labels, classes).layer)
    knn = knn_accuracies(features, labels, val_features, val_labels, classes, [_NEIGHBOURS])
    return BackboneScores(
        log_me(summed),
        h_score(summed),
        shrunk_h_score(summed),
        knn[_NEIGHBOURS],
        means.accuracy(val_features, val_labels),
        probe.accuracy(val_features, val_labels),
    )
