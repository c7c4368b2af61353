"""One sweep: every job checked before the first starts, Hydra's grid run in this process, a leaderboard at the end."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from transfer_cli import rundir
from transfer_cli.command import hydra_settings
from transfer_cli.command.overrides import Overrides
from transfer_cli.command.source import ConfigSource
from transfer_cli.config.parse import differences
from transfer_cli.config.schema import Experiment
from transfer_cli.errors import EXIT_FAILED, EXIT_OK, UserError
from transfer_cli.preflight import preflight
from transfer_cli.records.terminal import Reporter
from transfer_cli.runs.reports.group_report import leave_group_report
from transfer_cli.sweeps import leaderboard
from transfer_cli.sweeps.jobs import run_job


def run_sweep(source: ConfigSource, overrides: Overrides, jobs: list[Experiment]) -> int:
    """Run all jobs under outputs/sweeps; 0 if every one completed. `jobs` are the checked configurations."""
    first = jobs[0]
    folder = _folder(jobs)
    for job in jobs:
        preflight(job, in_sweep=True)
    # Imports torch, as the jobs will: a wrong job is found before the first one trains.
    from transfer_cli.runs.options import check_options

    for job in jobs:
        check_options(job)
    size = overrides.grid_size()
    if first.resume == "auto" and folder.exists():
        # Of a very large grid not every job is listed here.
        _check_same(folder, jobs if len(jobs) == size else [], size)
    reporter = Reporter(quiet=first.quiet)
    with rundir.claim(folder, named=first.name is not None, may_exist=first.resume == "auto") as claimed:
        folder = claimed.resolve()
        reporter.say(f"sweep of {len(jobs)} jobs in {claimed}")
        try:
            _hand_to_hydra(source, overrides, folder)
        finally:
            # Also when a signal ends the sweep in the middle: what is done is ranked.
            rows = leaderboard.write(folder)
    leaderboard.show(rows, reporter)
    leave_group_report(folder, reporter.warn)
    reporter.result(claimed)
    return EXIT_OK if all(row["status"] == "completed" for row in rows) else EXIT_FAILED


def _folder(jobs: list[Experiment]) -> Path:
    first = jobs[0]
    for key in ("name", "output_dir", "resume", "quiet"):
        if any(getattr(job, key) != getattr(first, key) for job in jobs):
            raise UserError(f"{key}: belongs to the whole sweep and cannot be swept over.")
    for job in jobs:
        if job.mode != "train":
            raise UserError(f"mode={job.mode}: a sweep trains; leave -m out to {job.mode}.")
        if job.resume not in ("never", "auto"):
            raise UserError(f"resume={job.resume}: a sweep is continued by its name, with name=<name> resume=auto.")
    folder = Path(first.output_dir) / "sweeps" / (first.name or time.strftime("%Y-%m-%d_%H-%M-%S"))
    if first.name and first.resume == "never" and folder.exists():
        raise UserError(f"name={first.name}: {folder} exists. Choose another name, or continue it with resume=auto.")
    rundir.check_writable(folder.parent)
    return folder


def _check_same(folder: Path, jobs: list[Experiment], size: int) -> None:
    """Raises UserError where an earlier sweep of this name had other jobs: theirs would be taken for these."""
    from transfer_cli.data.same_images import check_listed

    for number, job in enumerate(jobs):
        path = folder / str(number)
        if (path / rundir.CONFIG).is_file():
            found = differences(job, rundir.saved_experiment(path))
            if found:
                raise UserError(
                    f"resume=auto: job {number} of {folder} was another one: {'; '.join(found[:3])}. Other values "
                    "make another sweep: choose another name."
                )
    # Jobs of other images cannot be ranked together.
    check_listed(*((folder / str(number), job) for number, job in enumerate(jobs)))
    later = [path.name for path in folder.glob("[0-9]*") if path.name.isdigit() and int(path.name) >= size]
    if later:
        raise UserError(f"resume=auto: {folder} has more jobs than the {size} of this command. Choose another name.")


def _shared_keys(overrides: Overrides) -> str:
    """The keys that all jobs have one value for, as a list in Hydra's grammar."""
    keys = [override.get_key_element() for override in overrides.shared]
    return "[" + ",".join(f"'{key}'" for key in keys) + "]"


def _hand_to_hydra(source: ConfigSource, overrides: Overrides, folder: Path) -> None:
    """Hydra's own multirun, so that its launchers work as well. Jobs never raise but to end the sweep."""
    import hydra

    extra = ["--config-dir", str(source.extra)] if source.extra else []
    own = [
        *hydra_settings.OURS,
        f"hydra.sweep.dir='{folder}'",
        "hydra.sweep.subdir=${hydra.job.num}",
        # What Hydra calls a job by: its swept overrides alone.
        "hydra.job.config.override_dirname.item_sep=' '",
        f"hydra.job.config.override_dirname.exclude_keys={_shared_keys(overrides)}",
    ]
    before = sys.argv
    sys.argv = [before[0], "--multirun", *extra, *overrides.arguments, *own]
    try:
        hydra.main(config_path=str(source.path), config_name=source.name, version_base="1.3")(run_job)()
    finally:
        sys.argv = before
