"""Distillation from features: hints, attention maps and relations between samples, and the terms that they make.

Features are as `models.taps` gives them: maps [B, C, H, W], tokens [B, C, N] or vectors [B, D]. Student and teacher
may differ in channels and in size. Each loss is a scalar in float32.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from transfer_cli.methods.distill.terms import LossInputs, Term
from transfer_cli.methods.full_precision import full_precision


@full_precision
def hint(student: Tensor, teacher: Tensor, project: Callable[[Tensor], Tensor]) -> Tensor:
    """Mean squared distance of projected student features to the teacher's (FitNets, Romero 2015, arXiv 1412.6550).

    `project` takes the student's channels to the teacher's. The paper trains on hints first and on labels after; here
    both go together, as in later comparisons, which weigh it by 100.
    """
    student, teacher = same_size(student, teacher)
    return F.mse_loss(project(student), teacher)


@full_precision
def attention(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean squared difference of attention maps; the authors weigh it by 1000.

    "Paying More Attention to Attention" (Zagoruyko 2017, arXiv 1612.03928). An attention map is the sum over channels
    of squared activations, scaled to norm 1 for each sample. Needs a spatial dimension. Maps of different sizes are
    pooled to the smaller.
    """
    maps = same_size(student.square().sum(1, keepdim=True), teacher.square().sum(1, keepdim=True))
    ours, theirs = (F.normalize(one.flatten(1), dim=1) for one in maps)
    return (ours - theirs).square().mean()


@full_precision
def rkd(student: Tensor, teacher: Tensor) -> Tensor:
    """RKD-D + 2 RKD-A of vectors [B, D] ("Relational Knowledge Distillation", Park 2019, arXiv 1904.05068).

    The mixture is the paper's; later comparisons weigh it by 25.
    """
    ours, theirs = pairwise_distances(student), pairwise_distances(teacher)
    return rkd_distance(ours, theirs) + 2 * rkd_angle(student, teacher)


def rkd_distance(student: Tensor, teacher: Tensor) -> Tensor:
    """RKD-D: Huber loss between pairwise distances [B, B], each in units of their mean."""
    return F.smooth_l1_loss(_relative(student), _relative(teacher))


def rkd_angle(student: Tensor, teacher: Tensor) -> Tensor:
    """RKD-A: Huber loss between the cosines of all angles that three of the vectors [B, D] form.

    Takes memory for B^3 + B^2 D numbers.
    """
    return F.smooth_l1_loss(_cosines(student), _cosines(teacher))


def pairwise_distances(points: Tensor) -> Tensor:
    """Distances [B, B] between points [B, D]; takes memory for B^2 D numbers."""
    distances: Tensor = torch.linalg.vector_norm(points[None] - points[:, None], dim=2)
    return distances


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
    rows, columns = (
        _averages(have, want, maps.device).to(maps.dtype) for have, want in zip(maps.shape[2:], size, strict=True)
    )
    pooled: Tensor = rows @ maps @ columns.T
    return pooled


def _averages(have: int, want: int, device: torch.device) -> Tensor:
    """The matrix [want, have] that averages `have` cells into `want`."""
    ends = torch.arange(want + 1, device=device) * have
    first, last = ends[:-1] // want, -(-ends[1:] // want)
    cells = torch.arange(have, device=device)
    inside = (cells >= first[:, None]) & (cells < last[:, None])
    averages: Tensor = inside / inside.sum(1, keepdim=True)
    return averages


def _relative(distances: Tensor) -> Tensor:
    """Distances divided by the mean of those that are not zero."""
    mean = distances.sum() / (distances > 0).sum().clamp_min(1)
    return distances / mean.clamp_min(torch.finfo(mean.dtype).tiny)


def _cosines(points: Tensor) -> Tensor:
    """Cosines [B, B, B] of the angle at the first point between the second and the third; 0 where it is one of them.

    Of unit vectors and not by the law of cosines, which takes the difference of squares: nothing is left of it where
    two of the points nearly coincide.
    """
    steps = points[None] - points[:, None]
    lengths = torch.linalg.vector_norm(steps, dim=2, keepdim=True)
    apart = lengths > 0
    units = torch.where(apart, steps / lengths.where(apart, 1), 0)
    return units @ units.transpose(1, 2)


def _hint_term(batch: LossInputs) -> Tensor:
    """The mean over pairs."""
    assert batch.project is not None
    numbered = enumerate(batch.pairs)
    return torch.stack([hint(ours, theirs, partial(batch.project, n)) for n, (ours, theirs) in numbered]).mean()


def _attention_term(batch: LossInputs) -> Tensor:
    """The sum over pairs, as in the paper."""
    return torch.stack([attention(ours, theirs) for ours, theirs in batch.pairs]).sum()


def _rkd_term(batch: LossInputs) -> Tensor:
    assert batch.embeddings is not None
    return rkd(*map(vectors, batch.embeddings))


TERMS: dict[str, Term] = {
    "hint": Term(_hint_term, needs=frozenset({"pairs", "projections"})),
    "attention": Term(_attention_term, needs=frozenset({"pairs"})),
    "rkd": Term(_rkd_term, needs=frozenset({"embeddings"})),
}
