"""Distillation from logits: losses between the outputs of student and teacher, and the terms that they make.

Shapes: logits [B, K] of student and teacher; labels [B] int64, UNLABELLED where there is none; temperature T > 0.
Each loss is a scalar, the mean over the B samples, in float32.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from transfer_cli.data.reading.listing import UNLABELLED
from transfer_cli.methods.distill.terms import Term
from transfer_cli.methods.full_precision import full_precision

FLATTEST = 1e-2
"""Rows whose standard deviation is below this are divided by it: an all-equal row would have an infinite gradient."""
ALIKE = 1e-3
"""The same for probabilities that are correlated, as a share of their mean: about the deviation of their logits / T."""


@full_precision
def ce(student: Tensor, targets: Tensor, smoothing: float = 0.0) -> Tensor:
    """Cross-entropy with classes [B] or probabilities [B, K]; an unlabelled sample adds nothing and counts in B."""
    total = F.cross_entropy(student, targets, ignore_index=UNLABELLED, label_smoothing=smoothing, reduction="sum")
    return total / len(student)


@full_precision
def kd(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """T^2 KL(softmax(teacher / T), softmax(student / T)) (Hinton 2015, arXiv 1503.02531).

    T^2 keeps the gradient's size as T grows; its limit is 1 / (2K) times the squared distance of centred logits.
    """
    log_student = (student / temperature).log_softmax(1)
    log_teacher = (teacher / temperature).log_softmax(1)
    return temperature**2 * F.kl_div(log_student, log_teacher, reduction="batchmean", log_target=True)


@full_precision
def dkd(
    student: Tensor,
    teacher: Tensor,
    labels: Tensor,
    temperature: float,
    alpha: float = 1.0,
    beta: float | Tensor = 8.0,
) -> Tensor:
    """T^2 (alpha TCKD + beta NCKD) (Zhao 2022, arXiv 2203.08679): KD in two parts, each with its weight.

    TCKD compares the target's probability with that of all others together, NCKD the others among themselves.
    `beta` may be a tensor [B]: with alpha 1 and beta the teacher's probability of a wrong class it is KD. The paper
    takes beta 8 on CIFAR-100 and 0.5 on ImageNet. An unlabelled sample has no target: it adds nothing, counts in B.
    """
    labelled = labels != UNLABELLED
    target = labels.where(labelled, 0)
    student_target, student_others = _apart(student / temperature, target)
    teacher_target, teacher_others = _apart(teacher / temperature, target)
    tckd = _divergence(student_target, teacher_target)
    nckd = _divergence(student_others, teacher_others)
    return temperature**2 * ((alpha * tckd + beta * nckd) * labelled).mean()


@full_precision
def dist(student: Tensor, teacher: Tensor, temperature: float, beta: float = 1.0, gamma: float = 1.0) -> Tensor:
    """T^2 (beta inter + gamma intra): one minus the Pearson correlation of softened probabilities.

    "Knowledge Distillation from A Stronger Teacher" (DIST, Huang 2022, arXiv 2205.10536). Inter compares the classes of
    each sample (rows), intra the samples of each class (columns, over the batch). Where the student's logits are all
    alike, as a head of zeros makes them, the gradient has the size that it has where they differ by `ALIKE`.
    """
    p_student = (student / temperature).softmax(1)
    p_teacher = (teacher / temperature).softmax(1)
    inter = 1 - correlation(p_student, p_teacher).mean()
    intra = 1 - correlation(p_student.T, p_teacher.T).mean()
    return temperature**2 * (beta * inter + gamma * intra)


def correlation(a: Tensor, b: Tensor) -> Tensor:
    """Pearson's correlation of each row of `a` with that of `b`, both [R, S], as [R]; 0 for a constant row.

    A row that varies by less than `ALIKE` of its mean is divided by that much.
    """
    return (_centred_unit(a) * _centred_unit(b)).sum(1)


def _centred_unit(rows: Tensor) -> Tensor:
    """Rows [R, S] with mean 0 and length 1, or less where they hardly vary."""
    mean = rows.mean(1, keepdim=True)
    centred = rows - mean
    length: Tensor = torch.linalg.vector_norm(centred, dim=1, keepdim=True)
    shortest = (ALIKE * math.sqrt(rows.shape[1]) * mean.detach().abs()).clamp_min(1e-8)
    return centred / length.where(length > shortest, shortest)


@full_precision
def standardize(logits: Tensor) -> Tensor:
    """Rows of `logits` [..., K] with mean 0 and standard deviation 1, that of a population: over K, not K - 1.

    "Logit Standardization in Knowledge Distillation" (Sun 2024, arXiv 2403.01427). Applied to student and teacher it
    lets the student find its own scale: the loss does not change when a row is shifted or scaled. The paper then takes
    T = 2 and about nine times the weight of kd. (The authors' code divides by K - 1: its rows are shorter by the factor
    sqrt((K - 1) / K), which is a temperature higher by sqrt(K / (K - 1)).)
    """
    centred = logits - logits.mean(-1, keepdim=True)
    variance = centred.square().mean(-1, keepdim=True)
    return centred * variance.clamp_min(FLATTEST**2).rsqrt()


@full_precision
def mix_teachers(logits: Tensor, temperature: float) -> Tensor:
    """One teacher [B, K] of R teachers [B, R, K]: at `temperature` alone, its softmax is the mean of theirs."""
    return temperature * (logits / temperature).log_softmax(2).logsumexp(1)


def _apart(logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Log-probabilities of (target, any other) [B, 2], and of the others among themselves [B, K - 1]."""
    columns = torch.arange(logits.shape[1] - 1, device=logits.device).expand(len(logits), -1)
    others = logits.gather(1, columns + (columns >= target[:, None]))
    total = logits.logsumexp(1)
    chosen = logits.gather(1, target[:, None])[:, 0]
    return torch.stack([chosen - total, others.logsumexp(1) - total], 1), others.log_softmax(1)


def _divergence(log_student: Tensor, log_teacher: Tensor) -> Tensor:
    """KL(teacher, student) of each row, [B]."""
    return F.kl_div(log_student, log_teacher, reduction="none", log_target=True).sum(1)


TERMS: dict[str, Term] = {
    "ce": Term(lambda batch: ce(batch.logits, batch.targets, batch.label_smoothing), needs=frozenset({"labels"})),
    "kd": Term(lambda batch: kd(batch.soft_student, batch.soft_teacher, batch.temperature)),
    "dkd": Term(
        lambda batch: dkd(batch.soft_student, batch.soft_teacher, batch.targets, batch.temperature),
        needs=frozenset({"labels"}),
    ),
    "dist": Term(lambda batch: dist(batch.soft_student, batch.soft_teacher, batch.temperature)),
}
