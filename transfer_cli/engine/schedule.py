"""Learning-rate schedules as pure functions of the step, so that resuming cannot get them wrong."""

from __future__ import annotations

import math
from collections.abc import Callable

Shape = Callable[[float], float]


def _cosine(progress: float) -> float:
    return (1 + math.cos(math.pi * progress)) / 2


def _linear(progress: float) -> float:
    return 1 - progress


def _constant(progress: float) -> float:
    return 1.0


# How the rate rises during the warm-up, and how it falls after it; each from 1 at progress 0 to 0 at progress 1.
SHAPES: dict[str, tuple[Shape, Shape]] = {
    "cosine": (_linear, _cosine),
    "linear": (_linear, _linear),
    "onecycle": (_cosine, _cosine),
    "constant": (_linear, _constant),
}


def warmup_steps(warmup: float, total_steps: int) -> int:
    """A fraction of the run below 1, else a number of steps; never the whole run."""
    steps = round(warmup * total_steps) if warmup < 1 else int(warmup)
    return min(steps, max(total_steps - 1, 0))


def rate_multiplier(name: str, step: int, total_steps: int, *, warmup: float, start: float, final: float) -> float:
    """The factor on the base learning rate at `step` (from 0).

    Cosine: Loshchilov & Hutter 2017 (SGDR, one period); one-cycle: Smith & Topin 2018; warm-up: Goyal et al. 2017.
    """
    rise, fall = SHAPES[name]
    rising = warmup_steps(warmup, total_steps)
    if step < rising:
        return 1 - (1 - start) * rise(step / rising)
    return final + (1 - final) * fall((step - rising) / max(total_steps - rising, 1))
