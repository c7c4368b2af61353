"""The Pareto front of a sweep: which of its configurations no other one beats in all objectives.

A sweep that once had objectives keeps its front up to date: `pareto.json` says which they are.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from transfer_cli.command.overrides import without_repeats, words_in
from transfer_cli.config.objectives import COSTS, OBJECTIVES, SCORES, direction
from transfer_cli.files import write_json
from transfer_cli.methods.comparison import shown_score
from transfer_cli.methods.pareto import front
from transfer_cli.records.text import in_words
from transfer_cli.rundir import SUMMARY, read_json
from transfer_cli.runs.reports.reading import number_in

FILE, PLOT = "pareto.json", "pareto.png"
_WEIGHTS = "model.safetensors"
Row = Mapping[str, Any]
"""Of a leaderboard: overrides, status and run_directory of a job."""


@dataclass(frozen=True)
class Choice:
    """A configuration: the mean of each objective over those of its jobs that completed, None where none has it."""

    overrides: str
    jobs: int
    completed: int
    values: tuple[float | None, ...]
    best: str
    """The directory of its best completed job; empty where none is."""
    on_front: bool


@dataclass(frozen=True)
class Front:
    """All configurations of a sweep, the best by its metric first, by objectives that each want something else."""

    objectives: tuple[str, ...]
    choices: Mapping[frozenset[str], Choice]
    """By `key_of` the overrides of their jobs."""

    @property
    def best(self) -> list[Choice]:
        """Those on the front, by the first objective from its best on."""
        signs = {"maximize": -1, "minimize": 1}
        sign = signs[direction(self.objectives[0])]
        return sorted((one for one in self.choices.values() if one.on_front), key=lambda one: sign * _first(one))

    def headings(self, metric: str) -> list[str]:
        """Of a table that has the scores by `metric` already: what else is weighed, and who is on the front."""
        return [*(heading(name) for name in self.objectives if name != metric), "front"]

    def cells(self, overrides: str, metric: str) -> list[str]:
        """Those of a configuration, below `headings`."""
        one = self.choices[key_of(overrides)]
        pairs = zip(one.values, self.objectives, strict=True)
        return [*(shown_objective(value, name) for value, name in pairs if name != metric), "yes" * one.on_front]

    def write(self, folder: Path) -> None:
        """Write `pareto.json` of a sweep folder. Raises OSError."""
        rows = [
            {
                "overrides": one.overrides,
                "jobs": one.jobs,
                "completed": one.completed,
                **dict(zip(self.objectives, one.values, strict=True)),
                "front": one.on_front,
                "best_job": one.best or None,
            }
            for one in self.choices.values()
        ]
        directions = {name: direction(name) for name in self.objectives}
        write_json(folder / FILE, {"objectives": directions, "configurations": rows})


def front_of(folder: Path, rows: Sequence[Row], objectives: Sequence[str] = ()) -> Front | None:
    """The front of the jobs in these rows, which come best first; None where no objectives are known.

    They are those of its `pareto.json` where none are given.
    """
    names = tuple(objectives) or _remembered(folder)
    if not names:
        return None
    groups: dict[frozenset[str], list[Row]] = {}
    for row in rows:
        groups.setdefault(key_of(row["overrides"]), []).append(row)
    found = [_choice(folder, group, names) for group in groups.values()]
    marks = front([one.values for one in found], [direction(name) for name in names])
    marked = [replace(one, on_front=mark) for one, mark in zip(found, marks, strict=True)]
    return Front(names, dict(zip(groups, marked, strict=True)))


def key_of(overrides: str) -> frozenset[str]:
    """What jobs that differ in seed or fold alone have in common."""
    return frozenset(without_repeats(words_in(overrides)))


def objectives_of(run: Path, names: Sequence[str]) -> list[float | None]:
    """The values of a run directory; None for what it does not say."""
    summary = read_json(run / SUMMARY)
    return [_value(run, summary, name) for name in names]


def heading(name: str) -> str:
    """What a column of its values is called."""
    return f"val {name}" if name in SCORES else name.replace("_", " ")


def shown_objective(value: float | None, name: str) -> str:
    """For people; nothing where there is none."""
    if value is None:
        return ""
    if name == "model_bytes":
        return in_words(round(value))
    if name == "train_seconds":
        return f"{value:.2f}"
    return f"{value:,.0f}" if name in COSTS else shown_score(value, name)


def _choice(folder: Path, rows: Sequence[Row], names: Sequence[str]) -> Choice:
    runs = [Path(row["run_directory"]).name for row in rows if row["status"] == "completed"]
    columns = zip(*(objectives_of(folder / run, names) for run in runs), strict=True)
    means = [_mean([value for value in column if value is not None]) for column in columns]
    overrides = " ".join(without_repeats(words_in(rows[0]["overrides"])))
    values = tuple(means) if runs else (None,) * len(names)
    return Choice(overrides, len(rows), len(runs), values, runs[0] if runs else "", on_front=False)


def _mean(values: Sequence[float]) -> float | None:
    return statistics.fmean(values) if values else None


def _value(run: Path, summary: Mapping[str, Any], name: str) -> float | None:
    if name == "model_bytes":
        path = run / _WEIGHTS
        return path.stat().st_size if path.is_file() else None
    if name == "train_seconds":
        return number_in(summary, name)
    if name in COSTS:
        return number_in(summary.get("parameters"), {"parameters": "total"}.get(name, "trainable"))
    return number_in(summary.get("val"), name)


def _remembered(folder: Path) -> tuple[str, ...]:
    """The objectives that the sweep had before; none where the file is another's."""
    known = read_json(folder / FILE).get("objectives")
    names = tuple(known) if isinstance(known, dict) else ()
    return names if len(names) > 1 and all(name in OBJECTIVES for name in names) else ()


def _first(one: Choice) -> float:
    value = one.values[0]
    assert value is not None, "what is on the front has every value"
    return value
