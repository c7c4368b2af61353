"""Balanced epochs: equal counts, every sample used, order a pure function."""

from __future__ import annotations

import numpy as np

from transfer_cli.methods.balancing import balanced_order

LABELS = np.array([0] * 70 + [4] * 20 + [7] * 10)  # 100 samples, 3 classes


def test_classes_are_seen_equally_often() -> None:
    seen = LABELS[balanced_order(0, 0, LABELS)]
    assert sorted(np.unique(seen, return_counts=True)[1].tolist()) == [33, 33, 34]


def test_samples_of_a_class_are_used_evenly() -> None:
    uses = np.bincount(balanced_order(0, 0, LABELS), minlength=100)
    assert set(uses[LABELS == 0].tolist()) == {0, 1}
    assert set(uses[LABELS == 4].tolist()) == {1, 2}
    assert set(uses[LABELS == 7].tolist()) == {3, 4}


def test_over_epochs_no_sample_and_no_class_is_favoured() -> None:
    orders = np.stack([balanced_order(1, epoch, LABELS) for epoch in range(600)])
    uses = np.bincount(orders.ravel(), minlength=100)
    assert np.abs(uses[LABELS == 0] / 600 - 100 / 3 / 70).max() < 0.1
    assert np.abs([(LABELS[orders] == label).sum() / 600 - 100 / 3 for label in (0, 4, 7)]).max() < 0.1
    first = np.bincount(LABELS[orders[:, 0]], minlength=8)[[0, 4, 7]]
    assert np.abs(first / 600 - 1 / 3).max() < 0.1


def test_a_pure_function_of_seed_and_epoch() -> None:
    again = [balanced_order(0, epoch, LABELS).tobytes() for epoch in (0, 1, 0)]
    assert again[0] == again[2] != again[1]
    assert balanced_order(1, 0, LABELS).tobytes() != again[0]
