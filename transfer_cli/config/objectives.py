"""What a sweep may weigh against each other: scores on validation, and costs that every run knows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

from transfer_cli.config.schema import Experiment, Metric
from transfer_cli.errors import did_you_mean

Direction = Literal["maximize", "minimize"]

SCORES: tuple[str, ...] = get_args(Metric)
COSTS = ("parameters", "trainable_parameters", "train_seconds", "model_bytes")
OBJECTIVES = (*SCORES, *COSTS)


def direction(name: str) -> Direction:
    """A loss and every cost is to be low, every other score high."""
    return "minimize" if name == "loss" or name in COSTS else "maximize"


def objective_problems(e: Experiment) -> list[tuple[bool, str]]:
    """Objectives that are none, or make no front: (whether it is so, what to say)."""
    names = e.sweep.objectives
    if not names:
        return []
    said = f"sweep.objectives=[{','.join(names)}]"
    strange = [name for name in names if name not in OBJECTIVES]
    if strange:
        return [(True, _unknown(said, strange))]
    return [
        (len({*names}) < len(names), f"{said}: each objective once."),
        (
            len(names) == 1,
            f"{said}: several objectives make a front; for one alone leave it out and say {_alone(names[0])}.",
        ),
        (
            len(names) > 1 and not {*names} & {*SCORES},
            f"{said}: costs alone are lowest where nothing is learnt; name a score on validation too, as accuracy.",
        ),
        (
            "auroc" in names and e.mode == "train" and e.trainer.metric != "auroc",
            f"{said}: auroc is only computed with trainer.metric=auroc.",
        ),
    ]


def _unknown(said: str, strange: Sequence[str]) -> str:
    hint = did_you_mean(strange[0], OBJECTIVES)
    return f"{said}: no such objective as {', '.join(strange)}.{hint} Choices: {', '.join(OBJECTIVES)}."


def _alone(name: str) -> str:
    return f"trainer.metric={name}" if name in SCORES else "trainer.metric=<score>"
