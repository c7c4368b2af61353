"""Learning-rate schedules as pure functions of the step and of validation so far: resuming cannot get them wrong."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from transfer_cli.config.optimizers import Constant, Plateau, Polynomial, Restarts, Scheduler, Smooth, Stairs

Shape = Callable[[float], float]


def _cosine(progress: float) -> float:
    return (1 + math.cos(math.pi * progress)) / 2


def _linear(progress: float) -> float:
    return 1 - progress


# How the rate falls after the warm-up, from 1 at progress 0 to 0 at progress 1.
SHAPES: dict[str, Shape] = {"cosine": _cosine, "linear": _linear, "onecycle": _cosine}


def steps_of(length: float, total_steps: int) -> int:
    """A fraction of the run below 1, else a number of steps."""
    return round(length * total_steps) if length < 1 else int(length)


def warmup_steps(warmup: float, total_steps: int) -> int:
    """The steps of the warm-up; never the whole run."""
    return min(steps_of(warmup, total_steps), max(total_steps - 1, 0))


def rate_multiplier(scheduler: Scheduler, step: int, total_steps: int, history: Sequence[float] = ()) -> float:
    """The factor on the base learning rate at `step` (from 0).

    `history` holds the validation score of each epoch that ended before `step`, higher is better; only `plateau` reads
    it. Warm-up: Goyal 2017; cosine and restarts: Loshchilov 2017 (SGDR); one-cycle: Smith 2018.
    What falls is at its end behind the last step, at `total_steps`; torch's OneCycleLR is there at the last step.
    """
    rising = warmup_steps(scheduler.warmup, total_steps)
    if step < rising:
        rise = _cosine if scheduler.name == "onecycle" else _linear
        return 1 - (1 - scheduler.start) * rise(step / rising)
    falling = max(total_steps - rising, 1)
    progress = (step - rising) / falling
    match scheduler:
        case Smooth():
            return _between(scheduler.final, SHAPES[scheduler.name](progress))
        case Polynomial():
            return _between(scheduler.final, (1 - progress) ** scheduler.power)
        case Restarts():
            period = _progress_in_cycle(step - rising, falling, scheduler.cycles, scheduler.growth)
            return _between(scheduler.final, _cosine(period))
        case Stairs():
            # Counted from the start of the run, warm-up included, as recipes state it.
            return scheduler.factor ** (step // max(steps_of(scheduler.every, total_steps), 1))
        case Plateau():
            drops = plateaus(history, scheduler.patience, scheduler.min_delta)
            return max(scheduler.factor**drops, scheduler.final)
        case Constant():
            return 1.0


def _between(final: float, share: float) -> float:
    return final + (1 - final) * share


def _progress_in_cycle(step: int, steps: int, cycles: int, growth: float) -> float:
    """How far (0 to 1) the cycle that `step` lies in has come; each is `growth` times as long as the one before."""
    lengths = [growth**cycle for cycle in range(cycles)]
    starts = [round(steps * sum(lengths[:cycle]) / sum(lengths)) for cycle in range(cycles + 1)]
    cycle = max(cycle for cycle in range(cycles) if starts[cycle] <= step)
    return (step - starts[cycle]) / max(starts[cycle + 1] - starts[cycle], 1)


def should_stop(history: Sequence[float], patience: int, min_delta: float = 0.0) -> bool:
    """Whether the last `patience` epochs all failed to beat the best before them by more than `min_delta`."""
    return stale_epochs(history, min_delta) >= patience


def stale_epochs(history: Sequence[float], min_delta: float = 0.0) -> int:
    """Epochs since the last that beat the best so far by more than `min_delta`; one that is not a number never does."""
    best, stale = -math.inf, 0
    for score in history:
        if score > best + min_delta:
            best, stale = score, 0
        else:
            stale += 1
    return stale


def plateaus(history: Sequence[float], patience: int, min_delta: float = 0.0) -> int:
    """How often `patience` epochs in a row failed to beat the best; after each time the count begins anew."""
    best, stale, count = -math.inf, 0, 0
    for score in history:
        best, stale = (score, 0) if score > best + min_delta else (best, stale + 1)
        if stale == patience:
            stale, count = 0, count + 1
    return count
