"""Arithmetic of results: means over seeds, standard errors, differences seed by seed, regret. Points are per cent."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tests.benchmarks.evidence.methods import DEFAULT
from tests.benchmarks.evidence.results import Result


@dataclass(frozen=True)
class Place:
    """What results are compared within."""

    model: str
    set: str
    data: str


@dataclass(frozen=True)
class Mean:
    """Over `count` seeds, with the standard error of the mean; that of one seed is unknown."""

    value: float
    error: float | None
    count: int

    def __str__(self) -> str:
        return f"{self.value:.1f}" if self.error is None else f"{self.value:.1f} ± {self.error:.1f}"


@dataclass(frozen=True)
class Regret:
    """What a search finds beyond the default, in points of test accuracy."""

    by_validation: Mean
    """Of the setting that is best on validation, seed by seed: what a user who searches would gain."""
    by_test: float
    """Of the setting that is best on test, at seed 0: more than anybody could gain, since it looks at the answer."""
    setting: str
    points: int
    failed: int


def mean(values: Sequence[float]) -> Mean:
    """Mean and its standard error."""
    error = statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else None
    return Mean(statistics.mean(values), error, len(values))


class Table:
    """Test accuracies in per cent by place, method and seed."""

    def __init__(self, results: Iterable[Result]) -> None:
        self.held_back: dict[str, bool] = {}
        self.results: dict[tuple[Place, str], dict[int, Result]] = {}
        for one in results:
            self.held_back[one.set] = one.held_back
            place = Place(one.model, one.set, one.data)
            self.results.setdefault((place, one.method), {})[one.seed] = one

    def places(self) -> list[Place]:
        """In the order in which they were measured."""
        return list(dict.fromkeys(place for place, _ in self.results))

    def methods(self, place: Place) -> list[str]:
        """All but the points of a sweep."""
        return [method for one, method in self.results if one == place and not method.startswith("sweep_")]

    def by_seed(self, place: Place, method: str) -> dict[int, float]:
        """Test accuracy in per cent; runs that failed are left out."""
        found = self.results.get((place, method), {})
        return {seed: 100 * one.test for seed, one in found.items() if one.test is not None}

    def mean(self, place: Place, method: str) -> Mean | None:
        """None where nothing was measured."""
        values = list(self.by_seed(place, method).values())
        return mean(values) if values else None

    def lead(self, place: Place, over: str, of: str = DEFAULT) -> Mean | None:
        """Points by which `of` is ahead of `over`, seed by seed; None where they share no seed."""
        ours, theirs = self.by_seed(place, of), self.by_seed(place, over)
        shared = [ours[seed] - theirs[seed] for seed in ours if seed in theirs]
        return mean(shared) if shared else None

    def regret(self, place: Place) -> Regret | None:
        """None where no sweep ran at seed 0, or not the default."""
        swept = {
            method: seeds[0] for (one, method), seeds in self.results.items() if _is_point(one, place, method, seeds)
        }
        scored = {name: one for name, one in swept.items() if one.val is not None and one.test is not None}
        default = self.by_seed(place, DEFAULT)
        if not scored or 0 not in default:
            return None
        chosen = max(scored, key=lambda name: scored[name].val or 0.0)
        gain = self.lead(place, over=DEFAULT, of=chosen)
        assert gain is not None
        top = max(self.by_seed(place, name)[0] for name in scored)
        failed = len(swept) - len(scored)
        return Regret(gain, top - default[0], scored[chosen].setting, len(swept), failed)


def _is_point(one: Place, place: Place, method: str, seeds: dict[int, Result]) -> bool:
    return one == place and method.startswith("sweep_") and 0 in seeds
