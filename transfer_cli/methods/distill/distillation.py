"""The loss of distillation: named terms, each with a weight, over what student and teacher made of one batch."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor, nn

from transfer_cli.errors import UserError, nearest
from transfer_cli.methods.distill import logit_losses
from transfer_cli.methods.distill.contrast import Contrast
from transfer_cli.methods.distill.feature_losses import attention, hint, rkd, vectors
from transfer_cli.methods.distill.projections import Projections


@dataclass(frozen=True)
class Outputs:
    """What a network made of B samples: logits [B, K], or of R teachers [B, R, K], and features by stage.

    Features are those of `models.taps`; of several teachers, the first one's.
    """

    logits: Tensor
    features: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Lesson:
    """What a term may look at: `soft_*` [B, K] are logits mixed and standardised, `pairs` the features to compare."""

    logits: Tensor
    soft_student: Tensor
    soft_teacher: Tensor
    targets: Tensor
    pairs: list[tuple[Tensor, Tensor]]
    embeddings: tuple[Tensor, Tensor] | None
    indices: Tensor | None
    negatives: Tensor | None


@dataclass(frozen=True)
class Term:
    """`needs` says what besides logits: labels, pairs, projections, embeddings, contrast."""

    compute: Callable[[DistillationLoss, Lesson], Tensor]
    needs: frozenset[str] = frozenset()


class DistillationLoss(nn.Module):
    """The weighted sum of terms. Its parameters (projections, CRD's embeddings) train along and are never exported.

    `pairs` names (student stage, teacher stage) for hint and attention, `embeddings` one such pair for rkd and crd.
    Raises UserError for an unknown term, a negative weight, or no term at all.
    """

    def __init__(
        self,
        weights: Mapping[str, float],
        temperature: float,
        *,
        standardized: bool = False,
        label_smoothing: float = 0.0,
        dkd_beta: float = 8.0,
        teacher_weights: tuple[float, ...] | None = None,
        pairs: tuple[tuple[str, str], ...] = (),
        embeddings: tuple[str, str] | None = None,
        projections: Projections | None = None,
        contrast: Contrast | None = None,
    ) -> None:
        super().__init__()
        needed = needs(weights)
        self.weights = {name: weight for name, weight in weights.items() if weight > 0}
        self.temperature, self.standardized = temperature, standardized
        self.label_smoothing, self.dkd_beta = label_smoothing, dkd_beta
        self.teacher_weights: Tensor | None
        shares = None if teacher_weights is None else torch.tensor(teacher_weights)
        self.register_buffer("teacher_weights", shares, persistent=False)
        self.pairs = pairs if "pairs" in needed else ()
        self.embeddings = embeddings if "embeddings" in needed else None
        self.projections = projections if "projections" in needed else None
        self.contrast = contrast if "contrast" in needed else None
        given = {"pairs": pairs, "embeddings": embeddings, "projections": projections, "contrast": contrast}
        lacking = [name for name, value in given.items() if name in needed and not value]
        assert not lacking, f"{list(self.weights)} need {lacking}"

    @property
    def student_stages(self) -> tuple[str, ...]:
        """The stages of the student to tap."""
        return _named(0, self.pairs, self.embeddings)

    @property
    def teacher_stages(self) -> tuple[str, ...]:
        """The stages of the teacher to tap; of several teachers, of the first."""
        return _named(1, self.pairs, self.embeddings)

    def forward(
        self,
        student: Outputs,
        teacher: Outputs,
        targets: Tensor,
        indices: Tensor | None = None,
        negatives: Tensor | None = None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss [] and each term's value [] before its weight, detached.

        `targets` are labels [B] int64 (UNLABELLED for none) or probabilities [B, K]; `indices` [B] and `negatives`
        [B, M] (`contrast.Negatives`) are for crd. Give a live teacher's outputs made under no_grad: what inference
        mode makes cannot take part in a backward pass.
        """
        soft_student, soft_teacher = self._softened(student.logits, teacher.logits.detach())
        lesson = Lesson(
            student.logits,
            soft_student,
            soft_teacher,
            targets,
            [_facing(student, teacher, pair) for pair in self.pairs],
            _facing(student, teacher, self.embeddings) if self.embeddings else None,
            indices,
            negatives,
        )
        values = {name: TERMS[name].compute(self, lesson) for name in self.weights}
        total = torch.stack([self.weights[name] * value for name, value in values.items()]).sum()
        return total, {name: value.detach() for name, value in values.items()}

    def _softened(self, student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
        """Logits [B, K] that the soft terms compare: standardised if asked to, then several teachers mixed."""
        if self.standardized:
            student = logit_losses.standardize(student)
            teacher = logit_losses.standardize(teacher)
        if teacher.ndim == 3:
            teacher = logit_losses.mix_teachers(teacher, self.temperature, self.teacher_weights)
        return student, teacher


def needs(weights: Mapping[str, float]) -> set[str]:
    """What the terms with a weight need besides logits.

    Raises UserError for an unknown term, a weight that is negative or not finite, or no weight above 0.
    """
    for name, weight in weights.items():
        if name not in TERMS:
            near = nearest(name, TERMS)
            perhaps = f" Did you mean {' or '.join(near)}?" if near else ""
            raise UserError(f"strategy.loss.{name}: no such term.{perhaps} Terms: {', '.join(TERMS)}.")
        if not 0 <= weight < math.inf:
            raise UserError(f"strategy.loss.{name}={weight}: expected a number 0 or more.")
    if not any(weights.values()):
        raise UserError(f"strategy.loss: no term has a weight above 0. Terms: {', '.join(TERMS)}.")
    return set().union(*(TERMS[name].needs for name, weight in weights.items() if weight > 0))


def _ce(loss: DistillationLoss, lesson: Lesson) -> Tensor:
    return logit_losses.ce(lesson.logits, lesson.targets, loss.label_smoothing)


def _kd(loss: DistillationLoss, lesson: Lesson) -> Tensor:
    return logit_losses.kd(lesson.soft_student, lesson.soft_teacher, loss.temperature)


def _dkd(loss: DistillationLoss, lesson: Lesson) -> Tensor:
    return logit_losses.dkd(
        lesson.soft_student, lesson.soft_teacher, lesson.targets, loss.temperature, beta=loss.dkd_beta
    )


def _dist(loss: DistillationLoss, lesson: Lesson) -> Tensor:
    return logit_losses.dist(lesson.soft_student, lesson.soft_teacher, loss.temperature)


def _hint(loss: DistillationLoss, lesson: Lesson) -> Tensor:
    """The mean over pairs."""
    projections = loss.projections
    assert projections is not None
    numbered = enumerate(lesson.pairs)
    return torch.stack([hint(ours, theirs, partial(projections.forward, n)) for n, (ours, theirs) in numbered]).mean()


def _attention(loss: DistillationLoss, lesson: Lesson) -> Tensor:
    """The sum over pairs, as in the paper."""
    return torch.stack([attention(ours, theirs) for ours, theirs in lesson.pairs]).sum()


def _rkd(loss: DistillationLoss, lesson: Lesson) -> Tensor:
    assert lesson.embeddings is not None
    return rkd(*map(vectors, lesson.embeddings))


def _crd(loss: DistillationLoss, lesson: Lesson) -> Tensor:
    assert loss.contrast is not None and lesson.embeddings is not None
    assert lesson.indices is not None and lesson.negatives is not None
    ours, theirs = map(vectors, lesson.embeddings)
    return loss.contrast.forward(ours, theirs, lesson.indices, lesson.negatives)


TERMS: dict[str, Term] = {
    "ce": Term(_ce, frozenset({"labels"})),
    "kd": Term(_kd),
    "dkd": Term(_dkd, frozenset({"labels"})),
    "dist": Term(_dist),
    "hint": Term(_hint, frozenset({"pairs", "projections"})),
    "attention": Term(_attention, frozenset({"pairs"})),
    "rkd": Term(_rkd, frozenset({"embeddings"})),
    "crd": Term(_crd, frozenset({"embeddings", "contrast"})),
}


def _named(side: int, pairs: tuple[tuple[str, str], ...], embeddings: tuple[str, str] | None) -> tuple[str, ...]:
    """The stages of one side, each once."""
    return tuple(dict.fromkeys(pair[side] for pair in (*pairs, *([embeddings] if embeddings else []))))


def _facing(student: Outputs, teacher: Outputs, pair: tuple[str, str]) -> tuple[Tensor, Tensor]:
    return student.features[pair[0]], teacher.features[pair[1]].detach()
