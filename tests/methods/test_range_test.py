"""Range test: exponential rates, an unbiased average, suggestions on curves whose shape is known."""

from __future__ import annotations

import math

import numpy as np
import pytest

from transfer_cli.methods.range_test import has_diverged, rates, smoothed, suggest


def test_rates_grow_by_one_factor() -> None:
    assert rates(1e-6, 1.0, 7) == pytest.approx([1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0])
    assert rates(0.5, 1.0, 1) == [0.5]


def test_smoothing_is_unbiased_from_the_first_value() -> None:
    assert smoothed([3.0] * 5) == pytest.approx([3.0] * 5)
    assert smoothed([1.0, 2.0, 4.0], beta=0.5) == pytest.approx([1.0, (0.25 + 1.0) / 0.75, (0.125 + 0.5 + 2.0) / 0.875])
    assert smoothed([1.0, 5.0], beta=0.0) == [1.0, 5.0]


def test_divergence() -> None:
    assert not has_diverged([2.0, 1.0, 3.9])
    assert has_diverged([2.0, 1.0, 4.1])
    assert has_diverged([2.0, math.nan])
    assert has_diverged([2.0, math.inf])


def test_suggestion_on_a_curve_of_known_shape() -> None:
    """A logistic fall centred at 1e-3 that turns up at 1e-1."""
    tested = rates(1e-6, 10.0, 141)
    x = np.log10(tested)
    losses = 1 - 1 / (1 + np.exp(-4 * (x + 3))) + np.where(x > -1, (x + 1) ** 2, 0) - 1e-3 * x
    found = suggest(tested, losses.tolist())
    assert found is not None
    assert found.steepest == pytest.approx(1e-3, rel=0.2)
    assert found.tenth_of_lowest == pytest.approx(1e-2, rel=0.2)


def test_what_two_batches_differ_by_at_the_start_is_no_fall() -> None:
    """The average of one or two losses is as noisy as they are."""
    tested = rates(1e-7, 1.0, 100)
    losses = 2 - 1 / (1 + np.exp(-4 * (np.log10(tested) + 3))) + np.where(np.log10(tested) > -1, 1.0, 0)
    noise = np.random.default_rng(0).normal(size=100)
    losses[0] += 1.5
    found = suggest(tested, smoothed((losses + 0.05 * noise).tolist()))
    assert found is not None and 1e-4 < found.steepest < 1e-1


def test_slopes_are_over_the_logarithm_of_the_rate() -> None:
    """The fall of 4.5 between 1e-3 and 1e-2 is the steepest per decade; per unit of rate the first fall is."""
    tested = [1e-4, 1e-3, 1e-2, 1e-1]
    found = suggest(tested, [10.0, 9.5, 5.0, 4.0])
    assert found is not None and found.steepest == pytest.approx(1e-2)


def test_values_behind_the_lowest_or_not_finite_do_not_count() -> None:
    tested = rates(1e-4, 1e-1, 4)
    found = suggest(tested, [2.0, 1.0, 50.0, 3.0])  # from 50 to 3 is the steepest fall, but behind the lowest
    assert found is not None and found.tenth_of_lowest == pytest.approx(1e-4) and found.steepest <= tested[1]
    assert suggest(tested, [2.0, 1.0, math.nan, 0.5]) == found


@pytest.mark.parametrize("losses", [[1.0, 2.0, 3.0, 4.0], [math.nan] * 4, []])
def test_no_fall_no_suggestion(losses: list[float]) -> None:
    assert suggest(rates(1e-4, 1e-1, 4)[: len(losses)], losses) is None
