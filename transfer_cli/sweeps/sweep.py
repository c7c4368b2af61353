"""One sweep: every job checked and written down before the first starts, a leaderboard at the end."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from pathlib import Path

from transfer_cli import rundir, time_limit
from transfer_cli.command.overrides import Overrides
from transfer_cli.command.source import ConfigSource
from transfer_cli.errors import EXIT_FAILED, EXIT_OK, counted
from transfer_cli.preflight import preflight
from transfer_cli.records.terminal import Reporter
from transfer_cli.runs.reports.group_report import leave_group_report
from transfer_cli.sweeps import leaderboard
from transfer_cli.sweeps.folder import check_images, planned
from transfer_cli.sweeps.jobs import Job
from transfer_cli.sweeps.launching import launch
from transfer_cli.sweeps.ledger import COMPLETED, FAILED, Ledger, joined, of_command, read_ledger, status


def run_sweep(source: ConfigSource, overrides: Overrides, jobs: Sequence[Job]) -> int:
    """Run what is missing of these jobs under outputs/sweeps; 0 if every one of them is completed."""
    folder = planned([job.experiment for job in jobs])
    for job in jobs:
        preflight(job.experiment, in_sweep=True)
    # Imports torch, as the jobs will: a wrong job is found before the first one trains.
    from transfer_cli.runs.options import check_options

    for job in jobs:
        check_options(job.experiment)
    first = jobs[0].experiment
    goes_on = first.resume == "auto"
    ledger = joined(folder, read_ledger(folder) if goes_on else Ledger({}), jobs, uuid.uuid4().hex[:8])
    check_images(folder, ledger)
    reporter = Reporter(quiet=first.quiet)
    time_limit.start(first.trainer.time_limit)
    with rundir.claim(folder, named=first.name is not None, may_exist=goes_on) as claimed:
        folder = claimed.resolve()
        ledger.write(folder)
        asked = of_command(ledger, jobs)
        missing = [job for job in asked if _is_missing(folder, job)]
        for job in asked:
            if job not in missing:
                # A kill may have come between its result and what the sweep says of it.
                rundir.clear_unfinished(folder / job.name)
        _announce(claimed, ledger, asked, missing, reporter)
        try:
            launch(source, overrides, folder, ledger, missing, reporter)
        finally:
            # Also when a signal ends the sweep in the middle: what is done is ranked.
            rows = leaderboard.write(folder)
        done = all(status(folder / job.name) == COMPLETED for job in asked)
    leaderboard.show(rows, reporter)
    leave_group_report(folder, reporter.warn)
    reporter.result(claimed)
    return EXIT_OK if done else EXIT_FAILED


def _is_missing(folder: Path, job: Job) -> bool:
    found = status(folder / job.name)
    return found != COMPLETED and (found != FAILED or job.experiment.sweep.retry_failed)


def _announce(folder: Path, ledger: Ledger, asked: list[Job], missing: list[Job], reporter: Reporter) -> None:
    reporter.say(f"sweep of {counted(len(asked), 'job')} in {folder}")
    others = len(ledger.jobs) - len({job.name for job in asked})
    if len(missing) < len(asked):
        reporter.say(f"{counted(len(asked) - len(missing), 'job')} of them ran before, {len(missing)} to run")
    if others:
        reporter.say(f"{counted(others, 'job')} of earlier commands in this folder, ranked with these")
