"""What a term of the distillation loss is, and what it may read.

A term stands beside its formula, in the table of its file (`logit_losses.TERMS`, `feature_losses.TERMS`,
`contrast.TERMS`); its default weight stands in conf/strategy/distill.yaml.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

NEEDS = frozenset({"labels", "pairs", "projections", "embeddings", "contrast"})
"""What a term can ask for besides logits; `LossInputs` says what each is."""


@dataclass(frozen=True)
class LossInputs:
    """All that a term may read of one batch. Student features carry gradients, teacher features do not."""

    logits: Tensor
    """The student's, [B, K]."""
    soft_student: Tensor
    """The student's logits [B, K], standardised where the loss says so."""
    soft_teacher: Tensor
    """The teacher's logits [B, K], standardised likewise; several teachers mixed into one."""
    targets: Tensor
    """Labels [B] int64, UNLABELLED where there is none, or probabilities [B, K] (`labels`)."""
    temperature: float
    label_smoothing: float
    pairs: list[tuple[Tensor, Tensor]]
    """Features of student and teacher at each pair of stages, laid out as `models.taps` does (`pairs`)."""
    project: Callable[[int, Tensor], Tensor] | None
    """From the number of a pair and student features to the teacher's channels, learned (`projections`)."""
    embeddings: tuple[Tensor, Tensor] | None
    """Features of student and teacher at the stage that stands for the image (`embeddings`)."""
    contrast: Callable[[Tensor, Tensor, Tensor, Tensor], Tensor] | None
    """The contrastive memory: student vectors, teacher vectors, indices and negatives to a loss (`contrast`)."""
    indices: Tensor | None
    """Of the samples in the data set, [B] int64 (`contrast`)."""
    negatives: Tensor | None
    """Indices of samples of other classes, [B, M] int64 (`contrast`)."""


@dataclass(frozen=True)
class Term:
    """From the inputs to a scalar, the mean over the batch. `needs` are among `NEEDS`."""

    compute: Callable[[LossInputs], Tensor]
    needs: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        assert self.needs <= NEEDS, f"{set(self.needs - NEEDS)} is nothing that a term can need"
