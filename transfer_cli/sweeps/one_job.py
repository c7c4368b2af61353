"""One job of a sweep. Its failure is recorded and not raised, so that the other jobs run; a signal ends the sweep."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from transfer_cli import gpu_slots, rundir, signals, time_limit
from transfer_cli.config.schema import Experiment
from transfer_cli.engine.stop import ends_if_asked
from transfer_cli.errors import EXIT_INTERRUPTED, EXIT_OK, EXIT_PREEMPTED, Pruned, Stopped
from transfer_cli.files import write_json
from transfer_cli.records.events import Recorder
from transfer_cli.records.terminal import Reporter
from transfer_cli.rundir import read_json
from transfer_cli.runs.several.attempt import attempt
from transfer_cli.sweeps import leaderboard
from transfer_cli.sweeps.jobs import Job
from transfer_cli.sweeps.ledger import ENDED, Ledger, failures, is_missing, read_ledger
from transfer_cli.sweeps.sharing import holding

if TYPE_CHECKING:
    from omegaconf import DictConfig


def run_for_hydra(_: DictConfig) -> int:
    """What a launcher of Hydra's calls, in whatever process: the job of this directory, as the ledger has it."""
    from hydra.core.hydra_config import HydraConfig

    directory = Path(HydraConfig.get().runtime.output_dir)
    ledger = read_ledger(directory.parent)
    job = ledger.jobs[directory.name]
    time_limit.start(job.experiment.trainer.time_limit)
    try:
        return run_job(directory.parent, ledger, job, Reporter(quiet=job.experiment.quiet, prints_result=False))
    except Stopped as stopped:
        if stopped.code == EXIT_PREEMPTED and (signals.latest() != signal.SIGTERM or time_limit.is_over()):
            _queue_again()
        raise


def _queue_again() -> None:
    """Where submitit started this process: have it queue the job once more, which it does at a signal.

    Not after SIGTERM: that is how Slurm ends a job that its user takes back.
    """
    if "SUBMITIT_EXECUTOR" in os.environ:
        signal.raise_signal(signal.Signals[f"SIG{os.environ.get('SUBMITIT_PREEMPT_SIGNAL', 'USR2')}"])


def run_job(folder: Path, ledger: Ledger, job: Job, reporter: Reporter, watchers: Sequence[Recorder] = ()) -> int:
    """Train one job in its own directory and record how it ended; returns its exit code.

    Does nothing where another process runs it or has run it, or where as many jobs have failed as may. `watchers` hang
    on the run, and may end it.
    """
    most = job.experiment.sweep.most_failures
    with holding(folder, job.name) as held:
        if not held:
            reporter.say(f"job {job.name} runs in another process")
        elif most is not None and failures(folder, ledger) >= most:
            reporter.warn(f"job {job.name} does not start: {most} failed, and sweep.max_failures is {most}")
        elif is_missing(folder, ledger, job):
            return _run(folder, ledger, job, reporter, watchers)
    return EXIT_OK


def _run(folder: Path, ledger: Ledger, job: Job, reporter: Reporter, watchers: Sequence[Recorder]) -> int:
    gpu_slots.claim(job.experiment, reporter.say, wait=True)
    directory = folder / job.name
    before = read_json(directory / ENDED)
    done = rundir.completed_summary(directory) is not None
    if before.get("exit_code", EXIT_OK) != EXIT_OK:
        # It is tried again, and until then nothing is known of how it ends.
        (directory / ENDED).unlink()
    started = time.perf_counter()
    with ends_if_asked(f"after job {job.name}; the same command with resume=auto goes on with those that are left"):
        code, error = _train(replace(job.experiment, resume="auto"), directory, reporter, watchers)
        seconds = time.perf_counter() - started
        if done and code == EXIT_OK:
            seconds = before.get("seconds", seconds)  # it took what it took then
        directory.mkdir(exist_ok=True)
        ended = {"exit_code": code, "error": error, "seconds": seconds, "launch": ledger.launch}
        write_json(directory / ENDED, {"overrides": [*job.words], **ended})
        leaderboard.keep_up(folder, job.experiment.sweep.objectives)
    return code


def _train(
    experiment: Experiment, directory: Path, reporter: Reporter, watchers: Sequence[Recorder]
) -> tuple[int, str | None]:
    """The exit code of the job, and its message where it failed; a signal goes through."""
    from transfer_cli.runs.ranks.launch import Frozen, count_devices, launch
    from transfer_cli.runs.train import train

    codes = []

    def work() -> None:
        devices = count_devices(experiment)
        if devices == 1:
            train(experiment, directory, reporter, may_exist=True, watchers=watchers)
        else:
            codes.append(launch(Frozen(experiment, directory, may_exist=True, prints_result=False), devices))

    try:
        code, error = attempt(work)
    except Pruned as pruned:
        reporter.say(f"pruned    {pruned}")
        return EXIT_OK, None
    if codes in ([EXIT_PREEMPTED], [EXIT_INTERRUPTED]):
        raise Stopped(codes[0], "in the middle of the sweep; the same command with resume=auto goes on from there")
    if codes in ([], [EXIT_OK]):
        return code, error
    # The rank has said why.
    return codes[0], read_json(directory / rundir.SUMMARY).get("error", f"exit code {codes[0]}")
