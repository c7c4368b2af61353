"""Jobs of a sweep that differ in seed or fold alone are one configuration: how many, mean, deviation, the best."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transfer_cli.command.overrides import without_repeats, words_in
from transfer_cli.files import atomic_write_text
from transfer_cli.methods.comparison import Spread, place, shown, spread
from transfer_cli.records.text import printable
from transfer_cli.runs.reports.pareto import Front

NAME = "leaderboard.md"
COLUMNS = ("overrides", "n", "val", "test", "seconds", "best job")
NO_WORDS = "(none)"
_SCORED = 4
"""Columns up to the scores."""

Row = dict[str, Any]


@dataclass(frozen=True)
class Configuration:
    """The jobs with the same overrides but for seed and fold; scores are those of the completed ones, by `metric`."""

    overrides: str
    jobs: int
    completed: int
    metric: str
    val: Spread | None
    test: Spread | None
    seconds: Spread | None
    best: str
    """The directory of the best completed job; empty where none is."""

    @property
    def n(self) -> str:
        """Completed jobs, of how many where some are not."""
        return str(self.jobs) if self.completed == self.jobs else f"{self.completed} of {self.jobs}"

    def cells(self, metric: str, front: Front | None = None) -> list[str]:
        """For a table with `columns(metric, front)`: one for all, whatever the metric of each."""
        scores = ["" if one is None else shown(one, self.metric) for one in (self.val, self.test)]
        seconds = "" if self.seconds is None else f"{self.seconds.mean:.1f}"
        weighed = front.cells(self.overrides, metric) if front else []
        return [self.overrides or NO_WORDS, self.n, *scores, *weighed, seconds, self.best]


def configurations(rows: Sequence[Row]) -> list[Configuration]:
    """Of the rows of a leaderboard, best first: by the mean on validation, then as their best jobs stand there."""
    groups: dict[frozenset[str], list[Row]] = {}
    for row in rows:
        groups.setdefault(frozenset(_words(row)), []).append(row)
    found = [_configuration(" ".join(_words(group[0])), group) for group in groups.values()]
    return sorted(found, key=lambda one: place(None if one.val is None else one.val.mean, one.metric))


def columns(metric: str, front: Front | None = None) -> list[str]:
    """The headings of a table of configurations: `COLUMNS`, and those of a front in their middle."""
    weighed = front.headings(metric) if front else []
    return [*COLUMNS[:_SCORED], *weighed, *COLUMNS[_SCORED:]]


def write(folder: Path, found: Sequence[Configuration], front: Front | None = None) -> None:
    """Write `leaderboard.md` of a sweep folder. Raises OSError."""
    metric = found[0].metric if found else "accuracy"
    names = columns(metric, front)
    lines = [
        f"# {printable(folder.name)}",
        "",
        f"{metric}, mean ± standard deviation over seeds and folds, best on validation first.",
        "",
        *(
            [f"front: no other is as good in each of {', '.join(front.objectives)} and better in one.", ""]
            if front
            else []
        ),
        f"| {' | '.join(names)} |",
        f"| {' | '.join('---' for _ in names)} |",
        *(f"| {' | '.join(map(_cell, one.cells(metric, front)))} |" for one in found),
    ]
    atomic_write_text(folder / NAME, "\n".join(lines) + "\n")


def _configuration(overrides: str, rows: Sequence[Row]) -> Configuration:
    done = [row for row in rows if row["status"] == "completed"]
    metric = rows[0]["metric"]
    values = {key: _known(done, f"{key}_{metric}") for key in ("val", "test")}
    spreads = {key: spread(found) if found else None for key, found in values.items()}
    times = _known(done, "seconds")
    return Configuration(
        overrides,
        len(rows),
        len(done),
        metric,
        spreads["val"],
        spreads["test"],
        spread(times) if times else None,
        # The rows come best first.
        Path(done[0]["run_directory"]).name if done else "",
    )


def _known(rows: Sequence[Row], key: str) -> list[float]:
    return [float(row[key]) for row in rows if row.get(key) is not None]


def _words(row: Row) -> list[str]:
    return without_repeats(words_in(row["overrides"]))


def _cell(text: str) -> str:
    return printable(text).replace("|", "\\|").replace("\n", " ")
