"""The report on folders of runs, made again: leaderboards from what the jobs hold, and the page that shows them."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path

from transfer_cli import rundir
from transfer_cli.config.schema import Experiment
from transfer_cli.data.sources import load as sources
from transfer_cli.errors import UserError, counted
from transfer_cli.records.terminal import Reporter
from transfer_cli.runs.reports import listing
from transfer_cli.runs.reports.front_report import LEADERBOARD, weigh
from transfer_cli.runs.reports.group_report import problem, write_group_report
from transfer_cli.runs.reports.pareto import front_of
from transfer_cli.runs.reports.reading import OTHER_CONTENT, PAGE
from transfer_cli.runs.reports.run_report import images_of, leave_report
from transfer_cli.sweeps import leaderboard

_LONGEST_NAME = 120


def of_one(e: Experiment, folder: Path, reporter: Reporter) -> Path:
    """The page of a folder of runs, and of those of its runs that have none yet; returns its path.

    Raises UserError for another folder, OSError.
    """
    is_sweep = leaderboard.has_jobs(folder)
    other = None if is_sweep else problem(folder)
    if other is not None:
        raise UserError(f"sweep={folder}: {other}")
    renewed = is_sweep and _all_there(folder, reporter, "so it stays as it is")
    rows = leaderboard.write(folder) if renewed else None
    _leave_pages([folder], reporter)
    if e.sweep.objectives:
        weigh(folder, e.sweep.objectives, reporter)
        if renewed:
            leaderboard.write(folder, e.sweep.objectives)
    elif rows:
        leaderboard.show(rows, reporter, front_of(folder, rows))
    write_group_report(folder)
    return folder / PAGE


def of_several(e: Experiment, folders: Sequence[Path], reporter: Reporter) -> Path:
    """One leaderboard and page of the jobs of several sweeps, in a folder of their own; returns the path of the page.

    Raises UserError for a folder that is no sweep's, OSError.
    """
    for folder in folders:
        if not leaderboard.has_jobs(folder):
            raise UserError(f"sweep={folder}: no folder of a sweep with its jobs; several are reported on together.")
    target = Path(e.output_dir) / rundir.REPORTS / (e.name or _name([rundir.name_of(folder) for folder in folders]))
    for folder in folders:
        _all_there(folder, reporter, "so they count as waiting")
    _leave_pages(folders, reporter)
    leaderboard.show(leaderboard.together(folders, target), reporter)
    write_group_report(target)
    return target / PAGE


def _name(names: Sequence[str]) -> str:
    every = "+".join(names)
    return every if len(every) <= _LONGEST_NAME else f"{names[0]}+{len(names) - 1}"


def _all_there(folder: Path, reporter: Reporter, so: str) -> bool:
    """Whether the jobs of a leaderboard have their directories; where not, a warning says what comes of it."""
    try:
        gone = leaderboard.gone(folder)
    except OTHER_CONTENT:  # it is made again from what is there
        return True
    if gone:
        which = f"{counted(len(gone), 'job')} of its {LEADERBOARD} {'has' if len(gone) == 1 else 'have'}"
        first = f"{gone[0]}{', …' * (len(gone) > 1)}"
        reporter.warn(f"{folder}: {which} no directory any more ({first}), {so}.")
    return not gone


def _leave_pages(folders: Sequence[Path], reporter: Reporter) -> None:
    # Runs of one folder mostly share their images, and a million files take a while to list.
    load = functools.lru_cache(maxsize=1)(sources.load)
    for run in (run for folder in folders for run in listing.find_runs(folder)):
        if not (run / PAGE).is_file():
            leave_report(run, functools.partial(images_of, run, load), reporter.warn)
