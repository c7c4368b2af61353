"""Large feature tables in parts, so that float64 copies and score matrices never need memory for all rows at once."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

# Numbers in one part: 32 MiB in float64.
_NUMBERS_AT_ONCE = 1 << 22


def rows_at_once(width: int) -> int:
    """How many rows of `width` numbers make one part; at least one."""
    return max(1, _NUMBERS_AT_ONCE // max(width, 1))


def row_blocks(features: Tensor, rows: int) -> Iterator[Tensor]:
    """Features [N, D] as consecutive parts of up to `rows` rows in float64."""
    for part in features.split(rows):
        yield part.to(torch.float64)
