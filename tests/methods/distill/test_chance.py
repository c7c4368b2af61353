"""The warning about a guessing teacher: against the binomial tail summed by hand, and where it must stay silent."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest

from transfer_cli.methods.distill.chance import is_at_chance, is_clearly_lower, verdict
from transfer_cli.records.wilson import interval


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


def test_all_right_is_no_guessing() -> None:
    """However few the images: they give an interval, not a verdict."""
    for n in range(1, 7):
        assert verdict(1.0, 3, n) in ("unclear", "knows")
    assert verdict(6 / 6, 3, 6) == "unclear"
    assert verdict(6 / 7, 3, 7) == "unclear"
    assert verdict(9 / 9, 3, 9) == "knows"
    assert verdict(3 / 6, 3, 6) == "unclear"


def test_enough_images_give_a_verdict() -> None:
    assert verdict(0.12, 10, 200) == "guesses"
    assert verdict(0.15, 10, 200) == "guesses"
    assert verdict(0.25, 10, 200) == "knows"
    assert verdict(0.1, 10, 30) == "guesses"
    assert verdict(0.0, 3, 9) == "guesses"
    assert verdict(0.7, 1 / 0.7, 300) == "guesses"


@pytest.mark.parametrize(
    ("right", "n", "low", "high"), [(0, 10, 0.0, 0.2775), (6, 6, 0.6097, 1.0), (81, 263, 0.2553, 0.3662)]
)
def test_the_interval_is_wilsons(right: int, n: int, low: float, high: float) -> None:
    """The last row is Newcombe's own example."""
    assert interval(right / n, n) == pytest.approx((low, high), abs=1e-4)


def test_nothing_is_an_interval_of_everything() -> None:
    assert interval(0.0, 0) == (0.0, 1.0)


def test_one_image_makes_nobody_lower() -> None:
    assert not is_clearly_lower(0.0, 1.0, 1)
    assert not is_clearly_lower(5 / 6, 6 / 6, 6)
    assert is_clearly_lower(0.5, 0.9, 50)
    assert not is_clearly_lower(0.9, 0.5, 50)
    assert not is_clearly_lower(0.7, 0.7, 50)
