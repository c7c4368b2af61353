"""What fits into the time that is left: how many candidates, for how many epochs. Numbers alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from transfer_cli.runs.choices.candidates import Rung

Tune = Literal["off", "quick", "full"]
LONGER = 3
"""Up to so many times the epochs of the rule, where there is time."""


@dataclass(frozen=True)
class Plan:
    """Candidates by depth of the search (off, quick, full) for each backbone kept, their rungs and the epochs."""

    tune: Tune
    backbones: int
    epochs: int
    rungs: tuple[Rung, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Plan:
        """From plain values."""
        rungs = tuple(Rung(**rung) for rung in values["rungs"])
        return cls(values["tune"], values["backbones"], values["epochs"], rungs)


HALVING = (Rung(0.25, 3), Rung(0.5, 1))
CANDIDATES: dict[Tune, int] = {"off": 1, "quick": 2, "full": 7}
"""Of full, six that the search has and low-rank updates."""


def choose_plan(seconds: float, per_epoch: Sequence[float], epochs: int) -> Plan:
    """The deepest search whose cost fits, then as many epochs as fit, up to three times those of the rule.

    `per_epoch`: seconds of an epoch of each backbone kept, the best first; `epochs`: what the rule would take. The
    first backbone has the candidates of the search, the others the rule's alone.
    """
    choices: list[tuple[Tune, int]] = [("full", len(per_epoch)), ("quick", len(per_epoch)), ("quick", 1), ("off", 1)]
    for tune, kept in choices:
        rungs = _rungs(tune, kept)
        whole = _seconds(tune, per_epoch[:kept], rungs)
        if whole * epochs <= seconds or (tune, kept) == ("off", 1):
            fitting = min(int(seconds / whole), LONGER * epochs)
            return Plan(tune, kept, max(fitting, 1), rungs)
    raise AssertionError("the last plan always fits")


def _rungs(tune: Tune, backbones: int) -> tuple[Rung, ...]:
    candidates = CANDIDATES[tune] + backbones - 1
    if candidates == 1:
        return ()
    return HALVING if candidates > 3 else (Rung(0.5, 1),)


def _seconds(tune: Tune, per_epoch: Sequence[float], rungs: Sequence[Rung]) -> float:
    """Of a search and the winner's training, for each epoch of the whole run; the dearest is thought to win."""
    costs = sorted([per_epoch[0]] * CANDIDATES[tune] + list(per_epoch[1:]), reverse=True)
    total, before = 0.0, 0.0
    for rung in rungs:
        total += sum(costs) * (rung.share - before)
        before, costs = rung.share, costs[: rung.stay]
    return total + costs[0] * (1 - before)
