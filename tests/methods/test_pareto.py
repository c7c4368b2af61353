"""The front holds what nothing beats, ties together, and nothing that is unknown."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
import pytest

from transfer_cli.methods.pareto import front

Direction = Literal["maximize", "minimize"]
Row = Sequence[float | None]


def beats(one: Row, other: Row, directions: Sequence[Direction]) -> bool:
    """By the definition, value for value."""
    pairs = [
        (a, b) if direction == "maximize" else (b, a) for a, b, direction in zip(one, other, directions, strict=True)
    ]
    return all(a >= b for a, b in pairs) and any(a > b for a, b in pairs)  # type: ignore[operator]


@pytest.mark.parametrize("directions", [("maximize",), ("maximize", "minimize"), ("minimize", "maximize", "minimize")])
@pytest.mark.parametrize("values", [4, 1000])
def test_random_points_against_every_pair(directions: tuple[Direction, ...], values: int) -> None:
    """Of few values many points are equal, in one objective or all."""
    generator = np.random.default_rng(0)
    for _ in range(20):
        rows = generator.integers(0, values, (40, len(directions))).astype(float).tolist()
        expected = [not any(beats(other, row, directions) for other in rows) for row in rows]
        assert front(rows, directions) == expected
        assert any(expected)


def test_equal_rows_are_on_the_front_together() -> None:
    assert front([(1, 5), (1, 5), (1, 6)], ("maximize", "minimize")) == [True, True, False]


@pytest.mark.parametrize("gone", [None, math.nan, math.inf, -math.inf])
def test_what_is_not_known_is_never_on_it_and_beats_nothing(gone: float | None) -> None:
    rows: list[Row] = [(0.5, 5), (gone, 1), (0.9, gone), (gone, gone)]
    assert front(rows, ("maximize", "minimize")) == [True, False, False, False]
    assert front(rows[1:], ("maximize", "minimize")) == [False] * 3


def test_of_nothing_nothing() -> None:
    assert front([], ("maximize", "minimize")) == []
