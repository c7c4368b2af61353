"""The page of several runs side by side: of a sweep, a comparison, a search within a budget."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from markupsafe import Markup

from transfer_cli.records.pages import charts
from transfer_cli.records.pages.effects import effects
from transfer_cli.records.pages.front_section import FrontFacts
from transfer_cli.records.pages.parallel import parallel
from transfer_cli.records.pages.render import number, percent, render, score, seconds
from transfer_cli.records.pages.run_tables import NAMES, tile
from transfer_cli.records.pages.tried import Scale, Tried


@dataclass(frozen=True)
class Mean:
    """A score, or the mean over several seeds with its standard deviation."""

    value: float
    deviation: float | None = None


@dataclass(frozen=True)
class Entry:
    """A row: a run, or several that differ in their seed alone. What is not known is None."""

    name: str
    status: str
    val: Mean | None = None
    test: Mean | None = None
    seconds: float | None = None
    trainable: int | None = None
    parameters: int | None = None
    pages: Sequence[tuple[str, str]] = ()
    """Pages of its runs: what to call each, and its path from here."""
    runs: str = ""
    """How many of how many, where it is several."""
    error: str | None = None
    settings: Mapping[str, str] = field(default_factory=dict)
    """Of a job of a sweep: its value of each key that not all jobs have alike."""


@dataclass(frozen=True)
class GroupFacts:
    """All that a page of several runs shows; `entries` come best first."""

    title: str
    kind: str
    lead: str
    metric: str
    entries: Sequence[Entry]
    facts: Sequence[tuple[str, str]]
    """What all have in common, or what was decided."""
    recommendation: str | None = None
    over_seeds: Sequence[Entry] = ()
    front: FrontFacts | None = None
    """Of several objectives, where they were named."""


def group_page(facts: GroupFacts) -> str:
    """The page as HTML; the same facts give the same bytes."""
    name = NAMES.get(facts.metric, facts.metric)
    tested = any(entry.test for entry in facts.entries)
    values: dict[str, Any] = {
        "title": facts.title,
        "kind": facts.kind,
        "metric": name,
        "lead": facts.lead,
        "figures": _figures(facts, name),
        "recommendation": facts.recommendation,
        "numbers": [f"val {name}", *([f"test {name}"] if tested else []), "seconds", "trained", "parameters"],
        "rows": _rows(facts.entries, facts.metric, tested=tested),
        "seeds": _rows(facts.over_seeds, facts.metric, tested=tested),
        "has_runs": any(entry.runs for entry in facts.entries),
        "costs": "What accuracy costs" if facts.metric == "accuracy" else "Scores and costs",
        "charts": _charts(facts, name),
        **_keys(facts, name),
        "failed": [entry for entry in facts.entries if entry.error],
        "facts": facts.facts,
        "tested": tested,
        "front": facts.front,
    }
    return render("group.html", **values, sections=_sections(values))


def _sections(values: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The anchors and names of those sections that the page has."""
    names = {
        "seeds": ("seeds", "Over seeds and folds"),
        "front": ("front", "Pareto front"),
        "effects": ("keys", "What each key does"),
        "charts": ("costs", values["costs"]),
        "failed": ("failures", "Failures"),
        "facts": ("common", "Settings"),
    }
    return [("table", "Leaderboard"), *(place for key, place in names.items() if values[key])]


def _figures(facts: GroupFacts, name: str) -> list[dict[str, str]]:
    tiles = []
    done = [entry for entry in facts.entries if entry.status == "completed"]
    best = done[0] if done else None
    if best is not None and best.val is not None:
        tiles.append(tile(f"Best validation {name}", score(best.val.value, facts.metric), best.name))
    if best is not None and best.test is not None:
        tiles.append(tile(f"Its test {name}", score(best.test.value, facts.metric), "not used to choose it"))
    tiles.append(tile("Completed", str(len(done)), f"of {len(facts.entries)}"))
    times = [entry.seconds for entry in facts.entries if entry.seconds is not None]
    if times:
        tiles.append(tile("Time", seconds(sum(times)), f"{seconds(min(times))} to {seconds(max(times))} each"))
    return tiles


def _rows(entries: Sequence[Entry], metric: str, *, tested: bool) -> list[dict[str, Any]]:
    """Each entry and the cells of its numbers; the table leads to several pages where an entry has them."""
    return [
        {
            "place": place,
            "entry": entry,
            "cells": [
                _spread(entry.val, metric),
                *([_spread(entry.test, metric)] if tested else []),
                _cell(entry.seconds, "{:,.1f}"),
                _cell(entry.trainable, "{:,.0f}"),
                _cell(entry.parameters, "{:,.0f}"),
            ],
            "several": len(entry.pages) > 1,
            "first": place == 1 and entry.status == "completed",
        }
        for place, entry in enumerate(entries, 1)
    ]


def _cell(value: float | None, form: str) -> dict[str, str]:
    """What a cell shows, and the plain number that it sorts by."""
    return {"text": "", "plain": ""} if value is None else {"text": form.format(value), "plain": str(value)}


def _spread(mean: Mean | None, metric: str) -> dict[str, str]:
    if mean is None:
        return {"text": "", "plain": ""}
    text = score(mean.value, metric)
    if mean.deviation is not None:
        other = percent(mean.deviation) if text.endswith("%") else number(mean.deviation)
        text = f"{text} ± {other.removesuffix(' %')}"
    return {"text": text, "plain": f"{mean.value:.8f}"}


def _keys(facts: GroupFacts, name: str) -> dict[str, Any]:
    """The charts of the keys that a sweep varied, of the jobs that went to their end: others stopped early."""
    scale = Scale(name, in_percent=_in_percent(facts.metric))
    tried = [
        Tried(place, entry.name, entry.settings, entry.val.value)
        for place, entry in enumerate(facts.entries, 1)
        if entry.val is not None and entry.settings and entry.status == "completed"
    ]
    found = effects(tried)
    return {
        "effects": [(one.caption(scale), one.chart(scale)) for one in found],
        "means": any(one.repeats for one in found),
        "parallel": parallel(tried, [one.key for one in found], scale),
    }


def _in_percent(metric: str) -> bool:
    return score(0.5, metric).endswith("%")


def _charts(facts: GroupFacts, name: str) -> list[tuple[str, Markup]]:
    """Scores over seconds, and over parameters where these differ: all of a network, else those that train."""
    share = _in_percent(facts.metric)
    trainable = len({entry.parameters for entry in facts.entries if entry.parameters}) < 2
    counts = [entry.trainable if trainable else entry.parameters for entry in facts.entries]
    costs: dict[str, Sequence[float | None]] = {"seconds": [entry.seconds for entry in facts.entries]}
    if len({value for value in counts if value}) > 1:
        costs["parameters that train" if trainable else "parameters of the network"] = counts
    drawn = []
    for what, of in costs.items():
        points = [
            charts.Point(
                place,
                entry.name,
                float(cost),
                None if entry.val is None else entry.val.value,
                None if entry.test is None else entry.test.value,
            )
            for place, (entry, cost) in enumerate(zip(facts.entries, of, strict=True), 1)
            if cost is not None
        ]
        chart = charts.scatter(points, what, name, share=share)
        if chart is not None:
            drawn.append((f"{name[0].upper()}{name[1:]} against {what}", chart))
    return drawn
