"""A sweep's folder among the processes that run its jobs: any number of them, in several shells or on a cluster.

Who runs a job holds its lock, which the system takes back from a process that dies. What all of them write, the ledger
and the leaderboards, is written by one at a time.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from transfer_cli.files import unfinished
from transfer_cli.locks import FOREVER, locked

_RUNNING = ".lock"
_WRITING = ".ledger.lock"
_JOBS = ".jobs"
_LOOK_SECONDS = 0.2


@contextlib.contextmanager
def taking_part(folder: Path) -> Iterator[bool]:
    """Run jobs of this sweep until the block ends; whether nobody else did when it began."""
    with locked(folder / _RUNNING) as alone:
        with writing(folder):
            for left in unfinished(folder):
                left.unlink(missing_ok=True)
        yield alone


@contextlib.contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Write in the folder itself, when whoever does so has ended. Raises UserError where its lock cannot be used."""
    with locked(folder / _WRITING, FOREVER):
        yield


@contextlib.contextmanager
def holding(folder: Path, job: str) -> Iterator[bool]:
    """Hold the job of this name until the block ends; False where another process has it."""
    (folder / _JOBS).mkdir(exist_ok=True)
    # Longer than `is_held` holds it to look.
    with locked(_of_job(folder, job), _LOOK_SECONDS) as held:
        yield held


def is_held(folder: Path, job: str) -> bool:
    """Whether another process has the job of this name, before it has a directory too."""
    if not _of_job(folder, job).exists():
        return False
    with locked(_of_job(folder, job)) as free:
        return not free


def _of_job(folder: Path, job: str) -> Path:
    return folder / _JOBS / f"{job}.lock"
