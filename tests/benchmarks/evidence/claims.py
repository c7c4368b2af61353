"""What we say of the defaults, each a sentence, and whether the figures bear it out."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass

from tests.benchmarks.evidence.figures import Mean, Place, Table
from tests.benchmarks.evidence.methods import ADAPTING, DEFAULT

_COMPARED = ("low", "full", "vtab")
_MOST_REGRET = 1.0
_MOST_BEHIND = 1.0


@dataclass(frozen=True)
class Verdict:
    """`held` is None where nothing was measured that could tell."""

    claim: str
    held: bool | None
    figures: list[str]

    @property
    def word(self) -> str:
        """held, not held or not measured."""
        return {True: "held", False: "not held", None: "not measured"}[self.held]


def verdicts(table: Table) -> list[Verdict]:
    """One for each claim."""
    return [
        *(_ahead(table, other, "at least as good as", _no_worse) for other in ("probe", "sklearn")),
        *(_ahead(table, other, "better than", _better) for other in ("fastai", "timm", "timm_tenth", "tutorial")),
        _regret(table),
        _few_shots(table),
    ]


def _no_worse(lead: Mean) -> bool:
    """Minus at most one standard error."""
    return lead.value + (lead.error or 0.0) >= 0


def _better(lead: Mean) -> bool:
    return lead.value > 0


def _ahead(table: Table, other: str, relation: str, test: Callable[[Mean], bool]) -> Verdict:
    """On every set, low and full data."""
    leads = {
        place: lead
        for place in table.places()
        if place.data in _COMPARED and (lead := table.lead(place, over=other)) is not None
    }
    within = ", minus at most one standard error" if test is _no_worse else ""
    return Verdict(
        f"On every set the default is {relation} {other}{within}",
        all(test(lead) for lead in leads.values()) if leads else None,
        [_line(place, lead, "" if test(lead) else "not held") for place, lead in leads.items()],
    )


def _regret(table: Table) -> Verdict:
    """On the sets that nothing was tuned on, on average."""
    found = {place: regret for place in table.places() if (regret := table.regret(place)) is not None}
    held_back = [regret.by_validation.value for place, regret in found.items() if table.held_back[place.set]]
    average = statistics.mean(held_back) if held_back else None
    lines = [
        f"{_name(place)}: {regret.by_validation} by validation, {regret.by_test:.1f} at most"
        f"{', held back' if table.held_back[place.set] else ''}"
        for place, regret in found.items()
    ]
    return Verdict(
        "On the held-back sets the default is on average at most 1 point behind the best setting of a sweep",
        None if average is None else average <= _MOST_REGRET,
        [*([] if average is None else [f"mean of the held-back sets: {average:.2f}"]), *lines],
    )


def _few_shots(table: Table) -> Verdict:
    """At a few shots, on every set."""
    behind: dict[Place, tuple[str, Mean]] = {}
    for place in table.places():
        means = {name: found for name in ADAPTING if (found := table.mean(place, name)) is not None}
        if place.data != "shots" or not means:
            continue
        best = max(means, key=lambda name: means[name].value)
        lead = table.lead(place, over=best)
        if lead is not None:
            behind[place] = best, lead
    return Verdict(
        f"At a few shots a class the default is within 1 point of the best of {', '.join(ADAPTING)}",
        all(lead.value >= -_MOST_BEHIND for _, lead in behind.values()) if behind else None,
        [
            _line(place, lead, f"best is {best}" + ("" if lead.value >= -_MOST_BEHIND else ", not held"))
            for place, (best, lead) in behind.items()
        ],
    )


def _line(place: Place, lead: Mean, remark: str) -> str:
    signed = f"{lead.value:+.1f}" + ("" if lead.error is None else f" ± {lead.error:.1f}")
    return f"{_name(place)}: {DEFAULT} {signed}" + (f" ({remark})" if remark else "")


def _name(place: Place) -> str:
    return f"{place.model}, {place.set}, {place.data}"
