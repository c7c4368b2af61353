"""Distillation from features: hints, attention maps and relations between samples.

Features are as `models.taps` gives them: maps [B, C, H, W], tokens [B, C, N] or vectors [B, D]. Student and teacher
may differ in channels and in size. Each loss is a scalar in float32.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from transfer_cli.methods.full_precision import full_precision


@full_precision
def hint(student: Tensor, teacher: Tensor, project: Callable[[Tensor], Tensor]) -> Tensor:
    """Mean squared distance of projected student features to the teacher's (FitNets, Romero 2015).

    `project` takes the student's channels to the teacher's. The paper trains on hints first and on labels after; here
    both go together, as in later comparisons, which weigh it by 100.
    """
    student, teacher = same_size(student, teacher)
    return F.mse_loss(project(student), teacher)


@full_precision
def attention(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean squared difference of attention maps (Zagoruyko 2017); its authors weigh it by 1000.

    An attention map is the sum over channels of squared activations, scaled to norm 1 for each sample. Needs a
    spatial dimension. Maps of different sizes are pooled to the smaller.
    """
    maps = same_size(student.square().sum(1, keepdim=True), teacher.square().sum(1, keepdim=True))
    ours, theirs = (F.normalize(one.flatten(1), dim=1) for one in maps)
    return (ours - theirs).square().mean()


@full_precision
def rkd_distance(student: Tensor, teacher: Tensor) -> Tensor:
    """Huber loss between the pairwise distances of vectors [B, D], in units of their mean (RKD-D, Park 2019)."""
    return F.smooth_l1_loss(_relative(_distances(student)), _relative(_distances(teacher)))


@full_precision
def rkd_angle(student: Tensor, teacher: Tensor) -> Tensor:
    """Huber loss between the cosines of all angles that three of the vectors [B, D] form (RKD-A, Park 2019).

    Takes memory for B^2 D and B^3 numbers.
    """
    return F.smooth_l1_loss(_cosines(_distances(student)), _cosines(_distances(teacher)))


@full_precision
def rkd(student: Tensor, teacher: Tensor) -> Tensor:
    """RKD-D + 2 RKD-A of vectors [B, D], the paper's mixture (Park 2019); later comparisons weigh it by 25."""
    ours, theirs = _distances(student), _distances(teacher)
    distance = F.smooth_l1_loss(_relative(ours), _relative(theirs))
    return distance + 2 * F.smooth_l1_loss(_cosines(ours), _cosines(theirs))


def same_size(student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
    """Both average-pooled to the smaller height and the smaller width; other features must be of one size already."""
    if student.ndim != 4 or teacher.ndim != 4:
        assert student.shape[2:] == teacher.shape[2:], f"{tuple(student.shape)} against {tuple(teacher.shape)}"
        return student, teacher
    size = (min(student.shape[2], teacher.shape[2]), min(student.shape[3], teacher.shape[3]))
    return _pooled(student, size), _pooled(teacher, size)


def vectors(features: Tensor) -> Tensor:
    """Vectors [B, C]: the mean over all positions of maps [B, C, H, W] or tokens [B, C, N]."""
    return features.flatten(2).mean(2) if features.ndim > 2 else features


def _pooled(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Adaptive average pooling as matrix products: torch's own adds up its gradient in any order on a GPU."""
    if maps.shape[2:] == size:
        return maps
    rows, columns = (_averages(have, want).to(maps) for have, want in zip(maps.shape[2:], size, strict=True))
    pooled: Tensor = rows @ maps @ columns.T
    return pooled


def _averages(have: int, want: int) -> Tensor:
    """The matrix [want, have] that averages `have` cells into `want`."""
    first = torch.arange(want) * have // want
    last = -(-(torch.arange(want) + 1) * have // want)
    cells = torch.arange(have)
    inside = (cells >= first[:, None]) & (cells < last[:, None])
    averages: Tensor = inside / inside.sum(1, keepdim=True)
    return averages


def _distances(points: Tensor) -> Tensor:
    """Distances [B, B] between points [B, D]."""
    distances: Tensor = torch.linalg.vector_norm(points[None] - points[:, None], dim=2)
    return distances


def _relative(distances: Tensor) -> Tensor:
    """Distances divided by the mean of those that are not zero."""
    mean = distances.sum() / (distances > 0).sum().clamp_min(1)
    return distances / mean.clamp_min(torch.finfo(mean.dtype).tiny)


def _cosines(distances: Tensor) -> Tensor:
    """Cosines [B, B, B] of the angle at the first point between the second and the third; 0 where it is one of them.

    By the law of cosines, so that the width of the points does not enter.
    """
    squares = distances.square()
    twice_dot = squares[:, :, None] + squares[:, None, :] - squares[None]
    lengths = distances[:, :, None] * distances[:, None, :]
    apart = lengths > 0
    return torch.where(apart, twice_dot / (2 * lengths.where(apart, 1)), 0)
