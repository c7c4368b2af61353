"""The typed options of `optimizer=` and `scheduler=`. Values live in conf/, what they do in engine/."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from transfer_cli.config.convert import Between, Count, Fraction, NotNegative, Positive, Share

Momentum = Annotated[float, Between(0, 0.9999)]
Betas = tuple[Momentum, Momentum]


@dataclass(frozen=True)
class Sgd:
    """`optimizer=sgd`."""

    name: Literal["sgd"]
    lr: Positive
    weight_decay: NotNegative
    momentum: Fraction
    nesterov: bool


@dataclass(frozen=True)
class AdamFamily:
    """`optimizer=adamw`, `adam` (whose decay is an L2 penalty), `nadamw`, `radam` or `lamb`."""

    name: Literal["adamw", "adam", "nadamw", "radam", "lamb"]
    lr: Positive
    weight_decay: NotNegative
    betas: Betas
    eps: Positive


@dataclass(frozen=True)
class RmsProp:
    """`optimizer=rmsprop`: `alpha` is the decay of the mean square."""

    name: Literal["rmsprop"]
    lr: Positive
    weight_decay: NotNegative
    momentum: Momentum
    alpha: Momentum
    eps: Positive


@dataclass(frozen=True)
class Lion:
    """`optimizer=lion`."""

    name: Literal["lion"]
    lr: Positive
    weight_decay: NotNegative
    betas: Betas


@dataclass(frozen=True)
class Adafactor:
    """`optimizer=adafactor`: `lr` is relative to the size of each weight, `clip` bounds the root mean square update."""

    name: Literal["adafactor"]
    lr: Positive
    weight_decay: NotNegative
    decay: Annotated[float, Between(0.1, 1)]
    """The second moment forgets as 1 - step^-decay."""
    clip: Positive


@dataclass(frozen=True)
class Muon:
    """`optimizer=muon`: `momentum` and `nesterov` for hidden matrices, `betas` and `eps` for AdamW on all else."""

    name: Literal["muon"]
    lr: Positive
    weight_decay: NotNegative
    momentum: Momentum
    nesterov: bool
    betas: Betas
    eps: Positive


@dataclass(frozen=True)
class Smooth:
    """`scheduler=cosine`, `onecycle` or `linear`: up from `start` during `warmup`, then down to `final`.

    Here and below `warmup` is a fraction of the run below 1, else steps; `start` and `final` are multiples of
    `optimizer.lr`.
    """

    name: Literal["cosine", "onecycle", "linear"]
    warmup: NotNegative
    start: Fraction
    final: Fraction


@dataclass(frozen=True)
class Constant:
    """`scheduler=constant`: the warm-up, then one rate to the end."""

    name: Literal["constant"]
    warmup: NotNegative
    start: Fraction


@dataclass(frozen=True)
class Polynomial:
    """`scheduler=polynomial`: down to `final` as (1 - progress)^power."""

    name: Literal["polynomial"]
    warmup: NotNegative
    start: Fraction
    final: Fraction
    power: Positive


@dataclass(frozen=True)
class Stairs:
    """`scheduler=step`: times `factor` after each `every`, a fraction of the run below 1, else steps."""

    name: Literal["step"]
    warmup: NotNegative
    start: Fraction
    every: Positive
    factor: Share


@dataclass(frozen=True)
class Restarts:
    """`scheduler=restarts`: `cycles` cosines down to `final`, each `growth` times as long as the one before."""

    name: Literal["restarts"]
    warmup: NotNegative
    start: Fraction
    final: Fraction
    cycles: Count
    growth: Annotated[float, Between(1, 100)]


@dataclass(frozen=True)
class Plateau:
    """`scheduler=plateau`: times `factor` after `patience` epochs that did not beat the best validation accuracy.

    Beating it means by more than `min_delta`; the rate never falls below `final`.
    """

    name: Literal["plateau"]
    warmup: NotNegative
    start: Fraction
    final: Fraction
    factor: Share
    patience: Count
    min_delta: NotNegative


Optimizer = Sgd | AdamFamily | RmsProp | Lion | Adafactor | Muon
Scheduler = Smooth | Constant | Polynomial | Stairs | Restarts | Plateau

OPTIMIZERS: dict[str, type] = {
    "sgd": Sgd,
    "adamw": AdamFamily,
    "adam": AdamFamily,
    "nadamw": AdamFamily,
    "radam": AdamFamily,
    "rmsprop": RmsProp,
    "lamb": AdamFamily,
    "lion": Lion,
    "adafactor": Adafactor,
    "muon": Muon,
}
SCHEDULERS: dict[str, type] = {
    "cosine": Smooth,
    "onecycle": Smooth,
    "linear": Smooth,
    "constant": Constant,
    "polynomial": Polynomial,
    "step": Stairs,
    "restarts": Restarts,
    "plateau": Plateau,
}


def step_problems(scheduler: Scheduler) -> list[str]:
    """Lengths that are neither a fraction of the run nor whole steps."""
    lengths = {"warmup": scheduler.warmup, **({"every": scheduler.every} if isinstance(scheduler, Stairs) else {})}
    return [
        f"scheduler.{key}={value}: a fraction of the run (0 to 1) or a whole number of steps."
        for key, value in lengths.items()
        if 1 < value != int(value)
    ]
