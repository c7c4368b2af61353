"""The warning about a guessing teacher: against scipy's binomial distribution, and where it must stay silent."""

from __future__ import annotations

import pytest

from transfer_cli.methods.distill.chance import SIGNIFICANCE, guessing_probability, is_at_chance


@pytest.mark.parametrize("classes", [2, 10, 1000, 1 / 0.7])
@pytest.mark.parametrize("n", [2, 30, 5000])
def test_agrees_with_the_binomial_tail(classes: float, n: int) -> None:
    from scipy.stats import binom

    for correct in {*range(0, n + 1, max(1, n // 200)), 1, n}:
        tail = binom.sf(correct - 1, n, 1 / classes)
        assert guessing_probability(correct, classes, n) == pytest.approx(tail, rel=1e-6, abs=1e-12)
        assert is_at_chance(correct / n, classes, n) == (tail >= SIGNIFICANCE)


def test_a_teacher_that_knows_is_never_called_a_guesser() -> None:
    assert not is_at_chance(0.25, 10, 200)
    assert not is_at_chance(0.02, 1000, 50_000)
    assert is_at_chance(0.12, 10, 200)
    assert is_at_chance(0.0, 10, 200)


def test_too_few_images_prove_nothing() -> None:
    assert is_at_chance(1.0, 10, 2)
    assert not is_at_chance(1.0, 10, 4)
    assert is_at_chance(0.0, 10, 0)


def test_the_largest_class_is_a_guess_too() -> None:
    assert not is_at_chance(0.7, 2, 300)
    assert is_at_chance(0.7, 1 / 0.7, 300)
    assert is_at_chance(1.0, 1, 300)
