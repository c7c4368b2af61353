"""The Pareto front: what is left of several choices when each that another one beats is put aside."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np


def front(rows: Sequence[Sequence[float | None]], directions: Sequence[Literal["maximize", "minimize"]]) -> list[bool]:
    """Whether each row is on the front: no other is as good in every value and better in one.

    Equal rows are on it together. A row with a value that is missing or not finite is never on it and beats none.
    """
    if not rows:
        return []
    signs = np.array([1.0 if direction == "maximize" else -1.0 for direction in directions])
    heights = signs * np.array([[np.nan if value is None else value for value in row] for row in rows], dtype=float)
    known = np.isfinite(heights).all(1)
    rivals = heights[known]
    return [bool(is_known) and not _is_beaten(row, rivals) for row, is_known in zip(heights, known, strict=True)]


def _is_beaten(
    row: np.ndarray[tuple[int], np.dtype[np.float64]], rivals: np.ndarray[tuple[int, ...], np.dtype[np.float64]]
) -> bool:
    return bool(((rivals >= row).all(1) & (rivals > row).any(1)).any())
