"""One sweep: every job checked and written down before the first starts, a leaderboard at the end."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from transfer_cli import rundir, time_limit
from transfer_cli.command.overrides import Overrides
from transfer_cli.command.source import ConfigSource
from transfer_cli.errors import EXIT_FAILED, EXIT_OK, counted
from transfer_cli.preflight import preflight
from transfer_cli.records.terminal import Reporter
from transfer_cli.runs.reports.group_report import leave_group_report
from transfer_cli.runs.reports.pareto import front_of
from transfer_cli.runs.reports.run_report import leave_whole
from transfer_cli.sweeps import leaderboard
from transfer_cli.sweeps.folder import check_images, planned
from transfer_cli.sweeps.jobs import Job
from transfer_cli.sweeps.launching import launch
from transfer_cli.sweeps.ledger import (
    COMPLETED,
    FAILED,
    RUNNING,
    Ledger,
    is_missing,
    joined,
    of_command,
    read_ledger,
    status,
)
from transfer_cli.sweeps.sharing import holding, is_held, taking_part, writing


def run_sweep(source: ConfigSource, overrides: Overrides, jobs: Sequence[Job]) -> int:
    """Run what is missing of these jobs under outputs/sweeps, beside whoever runs others of them.

    Returns 0 if every one of them is completed, or runs in another process.
    """
    folder = planned([job.experiment for job in jobs])
    for job in jobs:
        preflight(job.experiment, in_sweep=True)
    # Imports torch, as the jobs will: a wrong job is found before the first one trains.
    from transfer_cli.runs.options import check_options

    for job in jobs:
        check_options(job.experiment)
    first = jobs[0].experiment
    goes_on = first.resume == "auto"
    check_images(folder, joined(folder, read_ledger(folder) if goes_on else Ledger({}), jobs, ""))
    reporter = Reporter(quiet=first.quiet)
    time_limit.start(first.trainer.time_limit)
    folder = rundir.make(folder, named=first.name is not None, may_exist=goes_on)
    with taking_part(folder) as alone:
        found = _entered(folder.resolve(), jobs, alone, reporter)
        _announce(folder, found, alone, reporter)
        try:
            launch(source, overrides, found.folder, found.ledger, found.missing, reporter, alone=alone)
        finally:
            # Also when a signal ends the sweep in the middle: what is done is ranked.
            rows = leaderboard.write(found.folder, first.sweep.objectives)
    leaderboard.show(rows, reporter, front_of(found.folder, rows, first.sweep.objectives))
    leave_group_report(found.folder, reporter.warn)
    return _close(folder, found, reporter)


@dataclass(frozen=True)
class _Entered:
    """A command's jobs as they stand in the ledger of the sweep."""

    folder: Path
    ledger: Ledger
    asked: list[Job]
    missing: list[Job]


def _entered(folder: Path, jobs: Sequence[Job], alone: bool, reporter: Reporter) -> _Entered:
    """The jobs written down in the ledger, and which of them are to run.

    What comes to a sweep that runs is of its launch: what failed there is not tried again by who comes later.
    """
    with writing(folder):
        before = read_ledger(folder)
        ledger = joined(folder, before, jobs, before.launch if before.launch and not alone else uuid.uuid4().hex[:8])
        ledger.write(folder)
    asked = of_command(ledger, jobs)
    missing = [job for job in asked if is_missing(folder, ledger, job)]
    for job in asked:
        if job not in missing:
            _make_whole(folder, job, reporter)
    return _Entered(folder, ledger, asked, missing)


def _make_whole(folder: Path, job: Job, reporter: Reporter) -> None:
    """A kill may have come between the result of a job and what the sweep says of it."""
    with holding(folder, job.name) as held:
        if held:
            rundir.clear_unfinished(folder / job.name)
            if status(folder / job.name) == COMPLETED:
                leave_whole(folder / job.name, reporter.warn)


def _close(folder: Path, found: _Entered, reporter: Reporter) -> int:
    # A job that waits for a GPU or lists its images is held, and has no directory yet, or that of its last try.
    ends = [_running_or(status(found.folder / job.name), found.folder, job) for job in found.asked]
    if FAILED in ends:
        reporter.warn(f"{counted(ends.count(FAILED), 'job')} failed: leaderboard.csv and report.html say why")
    running = ends.count(RUNNING)
    if running:
        reporter.say(f"{counted(running, 'job')} of them still running in other processes")
    reporter.result(folder)
    return EXIT_OK if all(end in (COMPLETED, RUNNING) for end in ends) else EXIT_FAILED


def _running_or(end: str, folder: Path, job: Job) -> str:
    return RUNNING if end != COMPLETED and is_held(folder, job.name) else end


def _announce(folder: Path, found: _Entered, alone: bool, reporter: Reporter) -> None:
    asked, missing = found.asked, found.missing
    reporter.say(
        f"sweep of {counted(len(asked), 'job')} in {folder}" + ("" if alone else ", shared with other processes")
    )
    others = len(found.ledger.jobs) - len({job.name for job in asked})
    if len(missing) < len(asked):
        reporter.say(f"{counted(len(asked) - len(missing), 'job')} of them ran before, {len(missing)} to run")
    if others:
        reporter.say(f"{counted(others, 'job')} of earlier commands in this folder, ranked with these")
