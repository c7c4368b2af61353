"""The warning about a guessing teacher: against the binomial tail summed by hand, and where it must stay silent."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest

from transfer_cli.methods.distill.chance import is_at_chance


def tail(correct: int, classes: int, n: int) -> Fraction:
    """How likely guessing is to get `correct` of n right, or more."""
    right = Fraction(1, classes)
    return sum((math.comb(n, k) * right**k * (1 - right) ** (n - k) for k in range(correct, n + 1)), Fraction(0))


@pytest.mark.parametrize("classes", [2, 10, 1000])
@pytest.mark.parametrize("n", [2, 30, 200])
def test_agrees_with_the_binomial_tail(classes: int, n: int) -> None:
    for correct in range(n + 1):
        assert is_at_chance(correct / n, classes, n) == (tail(correct, classes, n) >= Fraction(1, 1000))


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
