"""The loss of distillation: named terms, each with a weight, over what student and teacher compute for one batch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from transfer_cli.errors import UserError, did_you_mean
from transfer_cli.methods.distill import contrast as contrast_losses
from transfer_cli.methods.distill import feature_losses, logit_losses
from transfer_cli.methods.distill.contrast import Contrast
from transfer_cli.methods.distill.projections import Projections
from transfer_cli.methods.distill.terms import LossInputs, Term

TERMS: dict[str, Term] = {**logit_losses.TERMS, **feature_losses.TERMS, **contrast_losses.TERMS}


@dataclass(frozen=True)
class Outputs:
    """What a network computes for B samples: logits [B, K], or of R teachers [B, R, K], and features by stage.

    Features are laid out as `models.taps` does; of several teachers, the first one's.
    """

    logits: Tensor
    features: Mapping[str, Tensor] = field(default_factory=dict)


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
        pairs: tuple[tuple[str, str], ...] = (),
        embeddings: tuple[str, str] | None = None,
        projections: Projections | None = None,
        contrast: Contrast | None = None,
    ) -> None:
        super().__init__()
        needed = needs(weights)
        # In the order of the table: the sum must not round differently for another order of a YAML's keys.
        self.weights = {name: weights[name] for name in TERMS if weights.get(name, 0) > 0}
        self.temperature, self.standardized, self.label_smoothing = temperature, standardized, label_smoothing
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
        inputs = self._inputs(student, teacher, targets, indices, negatives)
        values = {name: TERMS[name].compute(inputs) for name in self.weights}
        total = torch.stack([self.weights[name] * value for name, value in values.items()]).sum()
        return total, {name: value.detach() for name, value in values.items()}

    def _inputs(
        self, student: Outputs, teacher: Outputs, targets: Tensor, indices: Tensor | None, negatives: Tensor | None
    ) -> LossInputs:
        soft_student, soft_teacher = self._softened(student.logits, teacher.logits.detach())
        return LossInputs(
            student.logits,
            soft_student,
            soft_teacher,
            targets,
            self.temperature,
            self.label_smoothing,
            pairs=[_facing(student, teacher, pair) for pair in self.pairs],
            project=self.projections,
            embeddings=_facing(student, teacher, self.embeddings) if self.embeddings else None,
            contrast=self.contrast,
            indices=indices,
            negatives=negatives,
        )

    def _softened(self, student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
        """Logits [B, K] that the soft terms compare: standardised if asked to, then several teachers mixed."""
        if self.standardized:
            student = logit_losses.standardize(student)
            teacher = logit_losses.standardize(teacher)
        if teacher.ndim == 3:
            teacher = logit_losses.mix_teachers(teacher, self.temperature)
        return student, teacher


def needs(weights: Mapping[str, float]) -> set[str]:
    """What the terms with a weight need besides logits (`terms.NEEDS`).

    Raises UserError for an unknown term, a weight that is negative or not finite, or no weight above 0.
    """
    for name, weight in weights.items():
        if name not in TERMS:
            hint = did_you_mean(name, TERMS)
            raise UserError(f"strategy.loss.{name}: no such term.{hint} Terms: {', '.join(TERMS)}.")
        if not 0 <= weight < math.inf:
            raise UserError(f"strategy.loss.{name}={weight}: expected a number 0 or more.")
    if not any(weights.values()):
        raise UserError(f"strategy.loss: no term has a weight above 0. Terms: {', '.join(TERMS)}.")
    return set().union(*(TERMS[name].needs for name, weight in weights.items() if weight > 0))


def check_terms(weights: Mapping[str, float], *, labelled: bool, pairs: bool) -> None:
    """Whether these terms can be computed from images that have labels or not, and read the `pairs` that were named.

    Raises UserError as `needs`, for terms that need labels where there are none, and for pairs that no term compares.
    """
    needed = needs(weights)
    if "labels" in needed and not labelled:
        found = [f"strategy.loss.{name}" for name in terms_that_need("labels") if weights.get(name, 0) > 0]
        raise UserError(f"{', '.join(found)}: learns from labels; with dataset.labels=none set it to 0.")
    if pairs and "pairs" not in needed:
        comparing = " and ".join(f"strategy.loss.{name}" for name in terms_that_need("pairs"))
        raise UserError(f"strategy.pairs: only {comparing} compare pairs of stages.")


def terms_that_need(*wanted: str) -> list[str]:
    """Names of the terms that need any of these."""
    return [name for name, term in TERMS.items() if term.needs & set(wanted)]


def _named(side: int, pairs: tuple[tuple[str, str], ...], embeddings: tuple[str, str] | None) -> tuple[str, ...]:
    """The stages of one side, each once."""
    return tuple(dict.fromkeys(pair[side] for pair in (*pairs, *([embeddings] if embeddings else []))))


def _facing(student: Outputs, teacher: Outputs, pair: tuple[str, str]) -> tuple[Tensor, Tensor]:
    return student.features[pair[0]], teacher.features[pair[1]].detach()
