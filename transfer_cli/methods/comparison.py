"""Which of several ways of training to take: means over seeds, their order by validation, and a reason in a sentence.

Only validation scores and costs come in here, so that no test score can choose.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Spread:
    """The mean of some values and their standard deviation (n - 1); None where one value has none."""

    mean: float
    deviation: float | None


def spread(values: Sequence[float]) -> Spread:
    """Of one value or more."""
    deviation = statistics.stdev(values) if len(values) > 1 else None
    return Spread(statistics.fmean(values), deviation)


@dataclass(frozen=True)
class Contender:
    """A way of training: its scores on validation, one a seed, and the mean seconds of a run."""

    name: str
    scores: tuple[float, ...]
    seconds: float

    @property
    def spread(self) -> Spread:
        """Of its scores."""
        return spread(self.scores)


@dataclass(frozen=True)
class Recommendation:
    """What to take, what was best, and why in a sentence."""

    name: str
    best: str
    reason: str


def by_score(contenders: Sequence[Contender], metric: str) -> list[Contender]:
    """The best mean on validation first; of equal ones the one that takes less time."""
    return sorted(contenders, key=lambda one: (-_height(one, metric), one.seconds))


def recommend(contenders: Sequence[Contender], metric: str) -> Recommendation:
    """The best on validation, or what takes the least time of those within one standard deviation of it.

    The deviation is that of the best over its seeds; with one seed there is none, and the best is taken.
    """
    best, *others = by_score(contenders, metric)
    near = [one for one in others if _height(best, metric) - _height(one, metric) <= (best.spread.deviation or 0.0)]
    chosen = min([best, *near], key=lambda one: one.seconds)
    if chosen is not best:
        reason = (
            f"{chosen.name} is recommended: its validation {metric} of {shown(chosen.spread, metric)} is within one "
            f"deviation of the best, {best.name} with {shown(best.spread, metric)}, and a run takes "
            f"{chosen.seconds:.1f} s instead of {best.seconds:.1f} s."
        )
        return Recommendation(chosen.name, best.name, reason)
    reason = f"{best.name} is recommended: the best on validation, {metric} {shown(best.spread, metric)}"
    if near:
        reason += f"; {near[0].name} comes within one deviation and takes no less time"
    elif others:
        reason += f", ahead of {others[0].name} with {shown(others[0].spread, metric)}"
    if best.spread.deviation is None:
        reason += "; one seed says nothing of the deviation"
    return Recommendation(best.name, best.name, f"{reason}.")


def shown(value: Spread, metric: str) -> str:
    """A score for people: `97.83 ± 0.31 %`, a loss as a plain number; no deviation where there is none."""
    scale, digits, unit = (1, 4, "") if metric == "loss" else (100, 2, " %")
    deviation = "" if value.deviation is None else f" ± {scale * value.deviation:.{digits}f}"
    return f"{scale * value.mean:.{digits}f}{deviation}{unit}"


def shown_score(value: float | None, metric: str) -> str:
    """The same of one value; nothing where there is none."""
    return "" if value is None else shown(Spread(value, None), metric)


def _height(one: Contender, metric: str) -> float:
    """The mean score, the larger the better."""
    return -one.spread.mean if metric == "loss" else one.spread.mean


def place(mean: float | None, metric: str) -> tuple[bool, float]:
    """What sorts means of a metric, the best first; what has none comes last."""
    if mean is None:
        return True, 0.0
    return False, mean if metric == "loss" else -mean
