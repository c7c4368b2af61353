"""Labels that are likely wrong, on made-up features of which it is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from transfer_cli.methods.label_errors import grouped, held_out, stratified, suspicions
from transfer_cli.methods.near_duplicates import near_duplicates


def test_a_twentieth_of_wrong_labels_comes_first() -> None:
    rng = np.random.default_rng(0)
    true = rng.integers(0, 5, 400)
    features = rng.normal(size=(5, 20))[true] * 1.5 + rng.normal(size=(400, 20))
    labels = true.copy()
    wrong = rng.choice(400, 20, replace=False)
    labels[wrong] = (true[wrong] + rng.integers(1, 5, 20)) % 5
    found = held_out(torch.tensor(features, dtype=torch.float32), torch.from_numpy(labels), 5, 5, 0)
    assert found.accuracy == pytest.approx((found.probabilities.argmax(1) == labels).mean())
    suspects = suspicions(found.probabilities, labels)
    first = suspects.order[:20]
    assert np.isin(wrong, first).mean() >= 0.8
    caught = np.intersect1d(wrong, first)
    assert (suspects.suggested[caught] == true[caught]).mean() > 0.8
    assert suspects.likely[caught].mean() > 0.8
    assert suspects.likely.mean() < 0.1


def test_an_image_is_judged_by_a_head_that_has_not_seen_it() -> None:
    """Features that say nothing: by heart all labels would be right, held out they are at chance."""
    rng = np.random.default_rng(0)
    features = torch.tensor(rng.normal(size=(120, 200)), dtype=torch.float32)
    found = held_out(features, torch.from_numpy(rng.integers(0, 4, 120)), 4, 5, 0)
    assert found.accuracy < 0.45


def test_confident_learning_by_hand() -> None:
    probabilities = np.array([[0.9, 0.1], [0.7, 0.3], [0.2, 0.8], [0.35, 0.65], [0.8, 0.2]])
    labels = np.array([0, 0, 1, 1, 1])
    # Typical: class 0 (0.9 + 0.7) / 2 = 0.8, class 1 (0.8 + 0.65 + 0.2) / 3 = 0.55; only the last is confidently of 0.
    found = suspicions(probabilities, labels)
    assert found.likely.tolist() == [False, False, False, False, True]
    assert found.order.tolist() == [4, 3, 1, 2, 0]
    assert found.suggested.tolist() == [1, 1, 0, 0, 0]


def test_folds_spread_every_class() -> None:
    labels = np.repeat([0, 1, 2], [10, 5, 20])
    folds = stratified(labels, 5, 3)
    for label, each in ((0, 2), (1, 1), (2, 4)):
        assert np.bincount(folds[labels == label], minlength=5).tolist() == [each] * 5


def test_no_group_is_judged_by_a_head_that_has_seen_it() -> None:
    """Features that tell the group and nothing of the class: by its other images each label would be known."""
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(40), 6)
    labels = rng.integers(0, 3, 40)[groups]
    folds = grouped(labels, groups, 5, 0)
    assert all(len({*folds[groups == group]}) == 1 for group in range(40))
    assert np.bincount(folds).min() >= 42, "about as many in each"
    features = torch.tensor(rng.normal(size=(40, 60))[groups] + 0.1 * rng.normal(size=(240, 60)), dtype=torch.float32)
    assert held_out(features, torch.from_numpy(labels), 3, 5, 0).accuracy > 0.9
    assert held_out(features, torch.from_numpy(labels), 3, 5, 0, groups).accuracy < 0.6
    assert {*grouped(labels[:12], groups[:12], 5, 0)} == {0, 1}, "no fold is empty"


def test_near_duplicates_are_pairs_of_different_kinds() -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(50, 30))
    features[7] = features[3] + 0.01 * rng.normal(size=30)
    features[20] = features[10] + 0.05 * rng.normal(size=30)
    features[31] = features[30]
    kinds = np.zeros(50, dtype=np.int64)
    kinds[[7, 20]] = 1
    found = near_duplicates(torch.tensor(features, dtype=torch.float32), kinds, 0.9)
    assert [(pair.one, pair.other) for pair in found] == [(3, 7), (10, 20)]
    assert found[0].similarity > found[1].similarity > 0.9
    assert near_duplicates(torch.zeros(1, 3), kinds[:1], 0.9) == []


def test_copies_within_a_split_hide_none_in_another() -> None:
    """A burst of 12 frames on each side: the nearest of each are its own."""
    rng = np.random.default_rng(0)
    features = torch.tensor(rng.normal(size=(60, 30)), dtype=torch.float32)
    features[:24] = features[0]
    features[12:24] += 0.01 * torch.tensor(rng.normal(size=30), dtype=torch.float32)
    kinds = np.repeat([0, 1, 0], [12, 12, 36])
    found = near_duplicates(features, kinds, 0.9)
    assert {pair.one for pair in found} == {*range(12)} and {pair.other for pair in found} == {*range(12, 24)}
    features[12:24] = features[0]
    assert near_duplicates(features, kinds, 1.0), "copies are alike, whatever the rounding"


def test_copies_of_one_image_alone_are_alike() -> None:
    """Standardised they are zeros, which have no direction; likewise one that lies where all others cancel out."""
    kinds = np.repeat([0, 1], 10)
    one = torch.tensor(np.random.default_rng(0).normal(size=(1, 30)), dtype=torch.float32)
    found = near_duplicates(one.repeat(20, 1), kinds, 0.95)
    assert found and all(pair.similarity == pytest.approx(1.0) for pair in found)
    assert {pair.one for pair in found} == {*range(10)}
    table = torch.cat([one, -one, torch.zeros(2, 30)])
    assert [(p.one, p.other) for p in near_duplicates(table, np.array([0, 1, 0, 1]), 0.95)] == [(2, 3)]
