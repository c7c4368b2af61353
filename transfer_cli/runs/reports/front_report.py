"""How the front of a sweep is shown: on its page, in `pareto.png`, and in a table of mode=report."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from transfer_cli.command.overrides import without_repeats, words_in
from transfer_cli.csv_files import csv_text
from transfer_cli.errors import UserError, counted
from transfer_cli.records.front_plot import Weighed, pareto
from transfer_cli.records.pages.front_section import FrontFacts, FrontRow
from transfer_cli.records.terminal import Reporter
from transfer_cli.runs.reports.pareto import PLOT, Choice, Front, front_of, heading, shown_objective
from transfer_cli.runs.reports.reading import OTHER_CONTENT, PAGE

LEADERBOARD = "leaderboard.csv"


def leaderboard_rows(folder: Path) -> list[dict[str, str]]:
    """The lines of `leaderboard.csv`, the overrides as they were said.

    Raises OSError; KeyError, ValueError for another file.
    """
    with (folder / LEADERBOARD).open(encoding="utf-8", newline="") as file:
        try:
            return [{**line, "overrides": csv_text(line["overrides"])} for line in csv.DictReader(file)]
        except csv.Error as error:
            raise ValueError(str(error)) from error


def weigh(folder: Path, objectives: Sequence[str], reporter: Reporter) -> None:
    """Find the front of a sweep that is there, by other objectives than it had or for the first time, and show it.

    Raises UserError for a folder without a leaderboard, or where no job has all that is weighed; OSError.
    """
    if not (folder / LEADERBOARD).is_file():
        raise UserError(f"sweep={folder}: it has no {LEADERBOARD}; sweep.objectives finds the front of a sweep.")
    try:
        front = front_of(folder, leaderboard_rows(folder), objectives)
    except OTHER_CONTENT as error:
        raise UserError(f"{folder / LEADERBOARD}: damaged ({error}).") from error
    assert front is not None, "objectives were given"
    if not front.best:
        raise UserError(
            f"sweep={folder}: no completed job has all of sweep.objectives=[{','.join(objectives)}]"
            f"{_lacking(front)}; name others."
        )
    front.write(folder)
    names = _names(front)
    cells = [[names[one], *_cells(front, one), one.best] for one in front.best]
    title = f"front of {', '.join(objectives)}: {len(cells)} of {counted(len(front.choices), 'configuration')}"
    reporter.table(title, ["configuration", *map(heading, objectives), "best job"], cells)


def _lacking(front: Front) -> str:
    values = [one.values for one in front.choices.values()]
    names = [name for number, name in enumerate(front.objectives) if all(one[number] is None for one in values)]
    return f", and none has {' or '.join(names)}" if names else ""


def front_facts(folder: Path, front: Front) -> FrontFacts:
    """What the page of the sweep shows of it."""
    names = _names(front)
    behind = [one for one in front.choices.values() if not one.on_front]
    rows = [
        FrontRow(names[one], one.values, _cells(front, one), one.on_front, _page(folder, one))
        for one in [*front.best, *behind]
    ]
    return FrontFacts(front.objectives, [heading(name) for name in front.objectives], rows)


def draw_front(folder: Path, front: Front) -> None:
    """Write `pareto.png` where there is anything to see. Raises OSError."""
    names = _names(front)
    behind = [one for one in front.choices.values() if not one.on_front]
    points = [
        Weighed(_without_groups(names[one]), known, one.on_front)
        for one in [*front.best, *behind]
        if len(known := tuple(value for value in one.values if value is not None)) == len(front.objectives)
    ]
    if points:
        pareto(points, front.objectives, folder / PLOT)


def _names(front: Front) -> dict[Choice, str]:
    """Each configuration by what the others have not."""
    words = {one: words_in(one.overrides) for one in front.choices.values()}
    shared = set.intersection(*map(set, words.values())) if len(words) > 1 else set()
    return {one: " ".join(word for word in own if word not in shared) or "(all jobs)" for one, own in words.items()}


def _without_groups(name: str) -> str:
    """`lr=0.01` of `optimizer.lr=0.01`: a label has little room."""
    return " ".join(_last(word) for word in without_repeats(words_in(name)))


def _last(word: str) -> str:
    key, equals, value = word.partition("=")
    return f"{key.rpartition('.')[2]}{equals}{value}"


def _cells(front: Front, one: Choice) -> list[str]:
    return [shown_objective(value, name) for value, name in zip(one.values, front.objectives, strict=True)]


def _page(folder: Path, one: Choice) -> str | None:
    return f"{one.best}/{PAGE}" if one.best and (folder / one.best / PAGE).is_file() else None
