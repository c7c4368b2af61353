import numpy as np
import pytest

from transfer_cli.data.balance import balanced_order, class_weights, skew_note

SKEWED = np.array([0] * 50 + [1] * 7 + [3] * 3)


def test_classes_are_shown_equally_often_whatever_their_size() -> None:
    for epoch in range(4):
        order = balanced_order(0, epoch, SKEWED)
        assert len(order) == 60
        assert np.bincount(SKEWED[order]).tolist() == [20, 20, 0, 20]


def test_odd_draws_go_round_the_classes() -> None:
    labels = np.array([0] * 6 + [1] * 3 + [2] * 2)  # 11 draws for three classes
    drawn = np.zeros(3, int)
    for epoch in range(7):
        drawn += np.bincount(labels[balanced_order(5, epoch, labels)], minlength=3)
        assert drawn.sum() == 11 * (epoch + 1)
        assert drawn.max() - drawn.min() <= 1


def test_samples_of_a_class_are_shown_equally_often() -> None:
    shown = np.zeros(60, int)
    for epoch in range(9):
        np.add.at(shown, balanced_order(2, epoch, SKEWED), 1)
        for label in (0, 1, 3):
            assert np.ptp(shown[label == SKEWED]) <= 1


def test_order_is_a_function_of_seed_and_epoch() -> None:
    assert np.array_equal(balanced_order(1, 7, SKEWED), balanced_order(1, 7, SKEWED))
    orders = [balanced_order(seed, epoch, SKEWED).tolist() for seed, epoch in ((1, 7), (2, 7), (1, 8))]
    assert len({tuple(order) for order in orders}) == 3


def test_classes_are_mixed_within_an_epoch() -> None:
    shown = SKEWED[balanced_order(0, 0, SKEWED)]
    assert all(len(np.unique(third)) == 3 for third in np.split(shown, 3))


def test_equal_classes_are_shown_like_any_permutation() -> None:
    labels = np.arange(40) % 4
    assert sorted(balanced_order(3, 2, labels)) == list(range(40))


def test_inverse_weights_even_classes_out() -> None:
    weights = class_weights(SKEWED, 4, "inverse")
    assert weights.dtype == np.float32
    assert np.allclose(weights * [50, 7, 0, 3], [20, 20, 0, 20])


def test_effective_weights_are_those_of_cui_2019() -> None:
    """One over (1 - b**n) / (1 - b), up to a common factor: by hand for n of 1 and 2000."""
    weights = class_weights(np.array([0] + [1] * 2000), 2, "effective")
    assert weights[0] / weights[1] == pytest.approx((1 - 0.999**2000) / (1 - 0.999**1), rel=1e-5)


@pytest.mark.parametrize("how", ["none", "inverse", "effective"])
def test_weights_average_to_one_over_the_samples(how: str) -> None:
    """So that the size of the loss, and with it the learning rate, stays what it was."""
    weights = class_weights(SKEWED, 4, how)
    assert weights[SKEWED].mean() == pytest.approx(1, rel=1e-6)
    assert weights[2] == 0


def test_skewed_classes_are_said_with_their_counts() -> None:
    assert skew_note(np.array([0] * 10 + [1]), ["ant", "bee"]) is None
    note = skew_note(np.array([0] * 11 + [1]), ["ant", "bee", "cow"])
    assert note is not None
    assert "11 training images of ant, 1 of bee" in note
    assert skew_note(np.empty(0, np.int64), ["ant", "bee"]) is None
