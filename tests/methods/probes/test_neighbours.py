"""Neighbours against brute force and scikit-learn, in parts as in one piece."""

from __future__ import annotations

import math

import pytest
import torch

from tests.methods.probes.clusters import clusters
from transfer_cli.methods.probes.neighbours import Nearest, knn_accuracies, nearest, votes

BANK, BANK_LABELS = clusters(150, 8, 4)
QUERIES, LABELS = clusters(40, 8, 4, seed=1)


def test_nearest_is_brute_force_in_any_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("transfer_cli.methods.probes.neighbours._QUERIES_AT_ONCE", 7)
    monkeypatch.setattr("transfer_cli.methods.probes.neighbours._STORED_AT_ONCE", 11)
    found = nearest(QUERIES, BANK, 20)
    cosines = torch.cosine_similarity(QUERIES[:, None], BANK[None], dim=2)
    expected = cosines.sort(dim=1, descending=True)
    torch.testing.assert_close(found.similarities, expected.values[:, :20])
    assert torch.equal(found.positions, expected.indices[:, :20])


def test_a_bank_smaller_than_the_count_is_taken_whole() -> None:
    found = nearest(QUERIES, BANK[:5], 20)
    assert found.positions.sort(dim=1).values.tolist() == [[0, 1, 2, 3, 4]] * 40


def test_a_feature_vector_of_zeros_is_no_ones_neighbour() -> None:
    bank = torch.cat([torch.zeros(1, 8, dtype=torch.float64), BANK])
    assert torch.isfinite(nearest(bank, bank, 3).similarities).all()


def test_votes_by_hand() -> None:
    found = Nearest(torch.tensor([[0.9, 0.8, 0.7]]), torch.tensor([[4, 0, 2]]))
    bank_labels = torch.tensor([1, 0, 1, 0, 2])
    weights = [math.exp(value / 0.07) for value in (0.9, 0.8, 0.7)]
    expected = [0, (weights[1] + weights[2]) / sum(weights), weights[0] / sum(weights)]
    assert votes(found, bank_labels, 3, 3)[0].tolist() == pytest.approx(expected, rel=1e-5)
    assert votes(found, bank_labels, 3, 1)[0].tolist() == [0, 0, 1]


def test_agrees_with_scikit_learn() -> None:
    from sklearn.neighbors import KNeighborsClassifier

    accuracies = knn_accuracies(BANK, BANK_LABELS, QUERIES, LABELS, 4, [10, 20, 100, 200])
    assert list(accuracies) == [10, 20, 100, 200]
    for count, accuracy in accuracies.items():
        model = KNeighborsClassifier(
            min(count, 150), metric="cosine", weights=lambda distances: math.e ** ((1 - distances) / 0.07)
        )
        model.fit(BANK.numpy(), BANK_LABELS.numpy())
        shares = votes(nearest(QUERIES, BANK, count), BANK_LABELS, 4, count)
        torch.testing.assert_close(shares, torch.from_numpy(model.predict_proba(QUERIES.numpy())))
        assert accuracy == pytest.approx(model.score(QUERIES.numpy(), LABELS.numpy()))
