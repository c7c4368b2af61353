"""What tune=quick|full compares: candidates for what the settings leave open, and how a rule's choice is doubted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from transfer_cli.config.auto import AUTO, chosen
from transfer_cli.config.distill import Distill
from transfer_cli.config.finetune import Finetune
from transfer_cli.config.schema import Experiment
from transfer_cli.runs.choices.settings import situation_of
from transfer_cli.runs.loop_job import LoopJob
from transfer_cli.strategies import rules
from transfer_cli.strategies.rules import Situation, Statistics

RATES = (1.0, 1 / 3, 3.0)

Hurry = Callable[[int, int, int], bool]
"""Whether time is short, by the epochs that candidates have trained so far, those that the next one would train now,
and those that the winner has left after that."""


@dataclass(frozen=True)
class Candidate:
    """One experiment with nothing left open."""

    experiment: Experiment

    @property
    def label(self) -> str:
        """What it is told by."""
        return _label(self.experiment)


@dataclass(frozen=True)
class Doubt:
    """How a rule's choice, the first candidate, is doubted."""

    images: int
    """That validate it."""
    few: bool
    """Of few to train on: it goes on unless another is better by a standard error. Of more: others are tried only where
    it is not ahead of the frozen network, by as much, and the best goes on."""


@dataclass(frozen=True)
class Rung:
    """All that are left train up to a share of the epochs; so many stay."""

    share: float
    stay: int


PLANS = {"quick": (Rung(0.5, 1),), "full": (Rung(0.25, 2), Rung(0.5, 1))}


@dataclass(frozen=True)
class Comparison:
    """Candidates for what a run leaves open, and how they are halved."""

    candidates: list[Candidate]
    rungs: Sequence[Rung]
    doubt: Doubt | None = None
    """Of the first, where it is a rule's choice."""
    hurry: Hurry | None = None
    """Whether to try no further candidate; None: never."""


Compare = Callable[[Experiment, LoopJob], Comparison]
"""From the experiment as it was asked for, and the job that the rules make of it."""


def as_asked(e: Experiment, job: LoopJob) -> Comparison:
    """What `tune` says."""
    return Comparison(candidates(e, job), PLANS.get(e.tune, ()), doubt_of(e, job))


def candidates(asked: Experiment, job: LoopJob, *, whatever_the_size: bool = False) -> list[Candidate]:
    """What is worth comparing: the rule's choice first, alone where nothing else is left open.

    `asked` is the experiment as the command has it; quick compares modes of BatchNorm, or learning with and without a
    teacher, for few images; full does for many, and compares rates; `whatever_the_size`: quick does for many as well,
    as it does for finetuning with a fitted head that it may fall behind.
    """
    e = job.materials.experiment
    if asked.tune == "off" or len(job.materials.images.splits["val"]) == 0 or chosen(e.trainer.epochs) < 2:
        return []
    situation = situation_of(e, job.network, job.loaded, job.materials.images)
    if isinstance(asked.strategy, Distill):
        compares = asked.strategy.use_teacher == AUTO and (situation.few or asked.tune == "full" or whatever_the_size)
        return [Candidate(one) for one in _with_and_without_teacher(e)] if compares else []
    if not isinstance(asked.strategy, Finetune):
        return []
    full = asked.tune == "full"
    found = [e]
    doubts = full or whatever_the_size or (isinstance(e.strategy, Finetune) and e.strategy.keep_probe is True)
    if asked.strategy.batch_norm == AUTO and _has_choice(situation, full=doubts):
        other = _with_statistics(e, asked, situation)
        found.append(other if situation.few else _as_for_few(other, asked, situation))
    if full and asked.optimizer.lr == AUTO:
        # The likeliest first: where time is short the last are left out.
        found = [_with_rate(one, factor) for factor in RATES for one in found]
    return [Candidate(one) for one in found]


def doubt_of(asked: Experiment, job: LoopJob) -> Doubt | None:
    """How `tune=quick` doubts the rule of a finetuning; None where it does not."""
    if asked.tune != "quick" or not isinstance(asked.strategy, Finetune):
        return None
    images = job.materials.images
    return Doubt(images.labelled("val"), few=len(images.splits["train"]) < rules.FEW_IMAGES)


def _has_choice(s: Situation, *, full: bool) -> bool:
    """Whether both modes of BatchNorm may be right."""
    return s.pretrained and s.normalises_batches and not s.head_only and (s.few or full)


def _with_statistics(e: Experiment, asked: Experiment, situation: Situation) -> Experiment:
    """The same run in the other mode of BatchNorm, with the head and rate that go with it."""
    config = e.strategy
    assert isinstance(config, Finetune) and isinstance(asked.strategy, Finetune)
    other: Statistics = "train" if config.batch_norm == "frozen" else "frozen"
    start = config.head_init
    if asked.strategy.head_init == AUTO and not config.head_first:
        start = rules.head_init(replace(situation, can_probe=config.keep_probe is True), other).value
    lr = rules.rate(situation, other).value if asked.optimizer.lr == AUTO else e.optimizer.lr
    strategy = replace(config, batch_norm=other, head_init=start)
    return replace(e, strategy=strategy, optimizer=replace(e.optimizer, lr=lr))


def _as_for_few(e: Experiment, asked: Experiment, situation: Situation) -> Experiment:
    """With the average and the mixing that the rules have for few images."""
    config, few = e.strategy, replace(situation, images=rules.FEW_IMAGES - 1)
    assert isinstance(config, Finetune) and isinstance(asked.strategy, Finetune)
    if asked.strategy.ema == AUTO:
        config = replace(config, ema=rules.average(few).value)
    if asked.strategy.wise_ft == AUTO:
        config = replace(config, wise_ft=rules.wise_ft(few, keeps_probe=config.keep_probe is True).value)
    return replace(e, strategy=config)


def _with_and_without_teacher(e: Experiment) -> list[Experiment]:
    config = e.strategy
    assert isinstance(config, Distill)
    if e.dataset.labels == "none":
        return [e]
    return [replace(e, strategy=replace(config, use_teacher=one)) for one in (True, False)]


def _with_rate(e: Experiment, factor: float) -> Experiment:
    lr = float(f"{factor * chosen(e.optimizer.lr):.2g}")
    return replace(e, optimizer=replace(e.optimizer, lr=lr))


def _label(e: Experiment) -> str:
    config = e.strategy
    if isinstance(config, Distill):
        return f"strategy.use_teacher={str(config.use_teacher).lower()}"
    assert isinstance(config, Finetune)
    settings = f"strategy.batch_norm={config.batch_norm} strategy.head_init={config.head_init}"
    settings += " strategy.wise_ft=true" * (config.wise_ft is True)
    settings += f" strategy.adapter={config.adapter}" * (config.adapter != "none")
    return f"model.name={e.model.name} {settings} optimizer.lr={e.optimizer.lr:g}"
