"""The ledger of a sweep: its jobs with their whole configurations, written before any starts, and how each stands.

How a job stands is never written down beforehand: it follows from what its directory holds, so a kill at any moment
leaves it true.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeGuard

from transfer_cli import rundir
from transfer_cli.config.continuation import with_what_was_settled
from transfer_cli.config.parse import differences, parse, to_dict
from transfer_cli.errors import EXIT_OK, UserError
from transfer_cli.files import parsed_json, write_json
from transfer_cli.rundir import read_json
from transfer_cli.sweeps.jobs import Job, said_of

FILE = "jobs.json"
ENDED = "job.json"
"""In the directory of a job: its words, exit code, seconds, and the launch that ran it."""
WAITING, RUNNING, COMPLETED, FAILED, UNFINISHED = "waiting", "running", "completed", "failed", "unfinished"
PRUNED = "pruned"
_MOST_NAMED = 3


@dataclass(frozen=True)
class Ledger:
    """All jobs that a sweep has had, by name, and the latest launch of them."""

    jobs: Mapping[str, Job]
    launch: str = ""

    def write(self, folder: Path) -> None:
        """Keep it in the folder of the sweep. Raises OSError."""
        rows = [
            {"id": job.identity, "name": job.name, "overrides": [*job.words], "config": to_dict(job.experiment)}
            for job in self.jobs.values()
        ]
        write_json(folder / FILE, {"launch": self.launch, "jobs": rows})


def read_ledger(folder: Path) -> Ledger:
    """That of a sweep folder; empty where there is none, as in one of an earlier version.

    Raises UserError for a damaged one.
    """
    path = folder / FILE
    if not path.is_file():
        return Ledger({})
    try:
        content = parsed_json(path.read_text(encoding="utf-8"))
        jobs = [_job(row) for row in content["jobs"]]
        return Ledger({job.name: job for job in jobs}, str(content["launch"]))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, UserError) as error:
        raise UserError(f"{path} cannot be read ({error}). Remove it; finished jobs are found nevertheless.") from error


def words_by_name(folder: Path) -> dict[str, tuple[str, ...]]:
    """The words of each job in the ledger, whose configurations are not looked at; none of rows that are damaged."""
    rows = read_json(folder / FILE).get("jobs")
    found = [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []
    return {
        name: tuple(map(str, row["overrides"]))
        for row in found
        if is_a_folders(name := row.get("name")) and isinstance(row.get("overrides"), list)
    }


def is_a_folders(name: object) -> TypeGuard[str]:
    """Whether a name is one of a folder, and no path."""
    return isinstance(name, str) and Path(name).name == name and name not in ("", ".", "..") and "\0" not in name


def joined(folder: Path, before: Ledger, jobs: Sequence[Job], launch: str) -> Ledger:
    """The ledger with the jobs of a command, of which those that were there keep their directories.

    Raises UserError where a job of the same words was another one, since a file was edited or the program is another.
    """
    known, said = _by_identity(before), {job.said: job for job in before.jobs.values()}
    numbered = {_said(path): path.name for path in folder.glob("[0-9]*") if (path / ENDED).is_file()}
    there = {job.identity: known[job.identity] for job in jobs if job.identity in known}
    for job in jobs:
        if job.identity not in there and job.said in said:
            # The same, where what is swept over now was not then, and changes no result.
            there[job.identity] = _unchanged(folder, job, said[job.said])
    # Where a default is auto by now, all jobs are as the first were: they are compared.
    first = next(((job.experiment, there[job.identity].experiment) for job in jobs if job.identity in there), None)
    found = dict(before.jobs)
    for job in jobs:
        was = there.get(job.identity)
        # Those of a sweep of an earlier version are numbered.
        name = was.name if was else numbered.get(job.said, job.name)
        begun = (job.experiment, was.experiment) if was else first
        experiment = with_what_was_settled(job.experiment, *begun) if begun else job.experiment
        found[name] = replace(job, name=name, experiment=experiment)
    return Ledger(found, launch)


def of_command(ledger: Ledger, jobs: Sequence[Job]) -> list[Job]:
    """The jobs of a command as they stand in the ledger."""
    known = _by_identity(ledger)
    return [known[job.identity] for job in jobs]


def status(directory: Path) -> str:
    """How a job stands: waiting, running, completed, failed, preempted, interrupted, pruned, or unfinished (killed)."""
    if not directory.is_dir():
        return WAITING
    ended, summary = read_json(directory / ENDED), read_json(directory / rundir.SUMMARY)
    # A process that is killed after the result, while it writes the page, leaves a holder behind.
    if summary.get("status") not in (COMPLETED, PRUNED) and rundir.is_held(directory):
        return RUNNING
    if ended.get("exit_code", EXIT_OK) != EXIT_OK:
        return FAILED
    return str(summary.get("status", UNFINISHED if any(directory.iterdir()) else WAITING))


def is_missing(folder: Path, ledger: Ledger, job: Job) -> bool:
    """Whether a job is to run: it is not done, and what failed is tried again, once a launch, where that is wanted."""
    found = status(folder / job.name)
    if found != FAILED:
        return found != COMPLETED
    return job.experiment.sweep.retry_failed and read_json(folder / job.name / ENDED).get("launch") != ledger.launch


def failures(folder: Path, ledger: Ledger) -> int:
    """How many jobs of the latest launch have failed."""
    ends = [read_json(folder / name / ENDED) for name in ledger.jobs]
    return sum(end.get("launch") == ledger.launch and end.get("exit_code", EXIT_OK) != EXIT_OK for end in ends)


def _by_identity(ledger: Ledger) -> dict[str, Job]:
    return {job.identity: job for job in ledger.jobs.values()}


def _job(row: dict[str, Any]) -> Job:
    name = str(row["name"])
    if not is_a_folders(name):
        raise ValueError(f"{name!r} is no name of a folder")
    return Job(str(row["id"]), name, tuple(map(str, row["overrides"])), parse(row["config"]))


def _said(directory: Path) -> frozenset[str]:
    return said_of(ended_words(directory))


def ended_words(directory: Path) -> tuple[str, ...]:
    """The words of a job that has ended, as its directory has them."""
    words = read_json(directory / ENDED).get("overrides")
    return tuple(map(str, words)) if isinstance(words, list) else ()


def _unchanged(folder: Path, job: Job, was: Job) -> Job:
    """The job as it was. Raises UserError where that has another result."""
    found = differences(job.experiment, was.experiment)
    if found:
        raise UserError(
            f"resume=auto: job {was.name} of {folder} was another one: {'; '.join(found[:_MOST_NAMED])}. Other values "
            "make another sweep: choose another name."
        )
    return was
