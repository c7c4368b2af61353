"""Averages of weights: model soups (Wortsman 2022, arXiv:2203.05482) and WiSE-FT (Wortsman 2022, arXiv:2109.01903)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

Weights = Mapping[str, Tensor]
STEPS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
"""Shares of the finetuned weights that WiSE-FT tries."""


def average(several: Sequence[Weights]) -> dict[str, Tensor]:
    """The mean of each tensor, in float64; counters are those of the first."""
    first = several[0]
    return {
        name: torch.stack([one[name].double() for one in several]).mean(0).to(tensor.dtype)
        if tensor.is_floating_point()
        else tensor
        for name, tensor in first.items()
    }


def interpolated(start: Weights, end: Weights, share: float) -> dict[str, Tensor]:
    """`share` of `end` and the rest of `start`; what `start` lacks, such as a new head, is that of `end`."""
    return {
        name: torch.lerp(start[name].double(), tensor.double(), share).to(tensor.dtype)
        if name in start and tensor.is_floating_point()
        else tensor
        for name, tensor in end.items()
    }


def greedy(ordered: Sequence[str], score: Callable[[tuple[str, ...]], tuple[float, float]]) -> tuple[str, ...]:
    """Names, best first, of those whose weights in the average do not lower its score; the best is always one.

    `score` gives what is higher for a better average of those named, such as its rank on validation.
    """
    taken: tuple[str, ...] = (ordered[0],)
    best = score(taken)
    for name in ordered[1:]:
        found = score((*taken, name))
        if found >= best:
            taken, best = (*taken, name), found
    return taken
