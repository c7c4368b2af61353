"""The typed options of `strategy=distill`. Values live in conf/, what they do in strategies/ and runs/."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

from transfer_cli.config.auto import AUTO
from transfer_cli.config.convert import Between, Count, NotNegative, Positive
from transfer_cli.config.finetune import Finetune


@dataclass(frozen=True)
class TeacherOptions:
    """The teacher: a model and where its weights come from, or run directories."""

    model: str | None
    """A name; null: that of the run directory in `weights`."""
    source: Literal["auto", "torchvision", "timm"]
    weights: str | tuple[str, ...]
    """As `model.weights`; several run directories teach together."""
    finetune: bool
    """Whether it is adapted to the data set first, in a run of its own."""
    epochs: Count | None
    lr: Positive | None
    image_size: Literal["auto"] | Annotated[int, Between(8, 4096)]
    cache: Literal["auto"] | bool
    """Whether its outputs are cached; auto: where views repeat and they fit into the cache."""
    top_k: Count | None
    """Logits kept for each sample; null: all."""
    allow_chance: bool
    """Whether a teacher may teach that is no better than guessing."""
    run: str | None = None
    """The directory of the run that trains first; auto: named by its settings, and used again; null where none does."""


@dataclass(frozen=True)
class Distill:
    """`strategy=distill`: a student (the model group) learns from a teacher."""

    name: Literal["distill"]
    teacher: TeacherOptions
    adapt: Finetune
    """How `teacher.finetune` adapts it."""
    loss: Mapping[str, NotNegative]
    """Weights of the terms by name; 0: off. Which there are, and what each needs, is known where they are computed."""
    temperature: Positive
    standardize_logits: bool
    label_smoothing: Annotated[float, Between(0, 0.99)]
    pairs: tuple[tuple[str, str], ...] | None
    """[student stage, teacher stage] for hint and attention; null: stages of like depth."""
    negatives: Count
    """What crd compares each image with."""
    generations: Count
    """Students that each learn from the one before."""
    use_teacher: Literal["auto"] | bool = True
    """Whether the student learns from it, or from the labels alone; auto: with tune, whichever validation prefers."""

    @property
    def trains_first(self) -> bool:
        """Whether another network is trained before the student."""
        return self.teacher.finetune or self.generations > 1

    @property
    def terms(self) -> Mapping[str, float]:
        """Weights of the terms that the student learns by."""
        return ALONE if self.use_teacher is False else self.loss


ALONE: Mapping[str, float] = {"ce": 1.0}
"""Terms of a student that learns from the labels alone."""


def distill_problems(config: Distill, *, labelled: bool, epochs: int | Literal["auto"]) -> list[tuple[bool, str]]:
    """Options that make no sense together: (whether it is so, what to say)."""
    teacher, generations = config.teacher, config.generations
    return [
        *_teacher_problems(teacher, trains_first=config.trains_first),
        (
            not any(config.terms.values()),
            f"strategy.loss: no term has a weight above 0. Terms: {', '.join(config.loss)}.",
        ),
        (
            not labelled and config.use_teacher is False,
            "strategy.use_teacher=false: with dataset.labels=none there is nothing else to learn from.",
        ),
        (
            not labelled and teacher.finetune,
            "strategy.teacher.finetune=true: with dataset.labels=none there is nothing to finetune on.",
        ),
        (
            teacher.finetune and not (teacher.epochs or epochs),
            "trainer.epochs=0: strategy.teacher.finetune=true needs strategy.teacher.epochs=<number>.",
        ),
        (
            generations > 1 and epochs == 0,
            f"strategy.generations={generations}: with trainer.epochs=0 no generation trains.",
        ),
    ]


def _teacher_problems(teacher: TeacherOptions, *, trains_first: bool) -> list[tuple[bool, str]]:
    several = isinstance(teacher.weights, tuple)
    return [
        (
            teacher.model is None and teacher.weights == "auto",
            "strategy.teacher: strategy=distill needs a teacher: strategy.teacher.weights=<run directory>, or "
            "strategy.teacher.model=<name> with strategy.teacher.finetune=true.",
        ),
        (
            teacher.run not in (None, AUTO) and not trains_first,
            "strategy.teacher.run: only strategy.teacher.finetune=true and strategy.generations read it.",
        ),
        (teacher.weights == (), "strategy.teacher.weights=[]: name run directories."),
        (
            several and (teacher.model is not None or teacher.finetune),
            "strategy.teacher.weights: several teachers are run directories, which know their models and are "
            "finetuned; leave strategy.teacher.model and strategy.teacher.finetune out.",
        ),
        (
            teacher.finetune and teacher.model is None and not several,
            "strategy.teacher.finetune=true: say which model with strategy.teacher.model=<name>.",
        ),
        (
            not teacher.finetune and (teacher.epochs is not None or teacher.lr is not None),
            "strategy.teacher.epochs, strategy.teacher.lr: only strategy.teacher.finetune=true reads these.",
        ),
    ]
