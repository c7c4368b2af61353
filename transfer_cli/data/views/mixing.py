"""How the images of a batch are mixed in a view: mixup and cutmix, drawn here, done where the images are floats.

Shares and boxes are pure functions of (seed, view, index); partners of these and of which indices share the batch. So a
run can be replayed from any step, and a view that comes again is mixed as before wherever batches come again too.
"mixup: Beyond Empirical Risk Minimization" (Zhang 2018, arXiv 1710.09412), "CutMix: Regularization Strategy to Train
Strong Classifiers with Localizable Features" (Yun 2019, arXiv 1905.04899).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from transfer_cli.data.views.random_numbers import uniforms


@dataclass(frozen=True)
class Mixes:
    """How each sample of a batch is mixed: with whom, how much of it stays, and where the partner is pasted."""

    partners: Tensor
    """[B] int64, positions in the batch."""
    shares: Tensor
    """[B] float32, the sample's own share of the mixture and of the label."""
    boxes: Tensor
    """[B, 4] int64: top, left, bottom, right in pixels; empty where the whole image is blended (mixup)."""

    def to(self, device: torch.device) -> Mixes:
        """The same on a device."""
        return Mixes(*(tensor.to(device, non_blocking=True) for tensor in (self.partners, self.shares, self.boxes)))


def draw(
    seed: int,
    view: int,
    indices: NDArray[np.int64],
    size: tuple[int, int],
    *,
    mixup: float,
    cutmix: float,
    chained: bool = False,
) -> Mixes:
    """The mixes of the samples `indices` [B] for images of `size` (H, W).

    `mixup` and `cutmix` are the alphas of Beta(alpha, alpha), 0 for off; with both on a sample gets one or the other,
    evenly. `chained`: samples are part of a batch in the order of `mixing_order`, so that each is mixed with the next
    and the last, which is there for that alone, with nobody in particular.
    """
    kind, level, y, x, rank = _numbers(seed, view, indices)
    cuts = kind < (0.5 if mixup and cutmix else float(cutmix > 0))
    boxes = _boxes(_beta(cutmix, level), y, x, size)
    boxes[~cuts] = 0
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    shares = np.where(cuts, 1 - area / (size[0] * size[1]), _beta(mixup, level))
    # Neighbours in a random order of the batch: nobody is his own partner, everybody is somebody's.
    order = np.arange(len(rank)) if chained else _order(rank)
    partners = np.empty_like(order)
    partners[order] = np.roll(order, -1)
    return Mixes(torch.from_numpy(partners), torch.from_numpy(shares.astype(np.float32)), torch.from_numpy(boxes))


def mixing_order(seed: int, view: int, indices: NDArray[np.int64]) -> NDArray[np.int64]:
    """Positions [B] of a batch in the order in which each sample is mixed with the next, the last with the first."""
    *_, rank = _numbers(seed, view, indices)
    return _order(rank)


def _numbers(seed: int, view: int, indices: NDArray[np.int64]) -> NDArray[np.float64]:
    """Of each of B samples: which kind of mix, its level, a place (y, x), and the rank in the order: [5, B]."""
    # The first number is not used; without it all others, and so every run, would change.
    return uniforms(seed, view, indices, 6, "mixing").T[1:]


def _order(rank: NDArray[np.float64]) -> NDArray[np.int64]:
    return np.argsort(rank, kind="stable")


def _beta(alpha: float, level: NDArray[np.float64]) -> NDArray[np.float64]:
    """Beta(alpha, alpha) by its inverse distribution function; all ones for alpha 0."""
    from scipy.special import betaincinv

    return betaincinv(alpha, alpha, level) if alpha else np.ones_like(level)


def _boxes(
    own: NDArray[np.float64], y: NDArray[np.float64], x: NDArray[np.float64], size: tuple[int, int]
) -> NDArray[np.int64]:
    """Boxes [B, 4] of a share 1 - own of the image around uniform centres, cut off at the border."""
    side = np.sqrt(1 - own)
    edges = []
    for centre, length in ((y, size[0]), (x, size[1])):
        middle, half = np.floor(centre * length), np.floor(side * length) // 2
        edges.append((np.clip(middle - half, 0, length), np.clip(middle + half, 0, length)))
    (top, bottom), (left, right) = edges
    return np.stack([top, left, bottom, right], axis=1).astype(np.int64)
