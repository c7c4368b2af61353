"""One job of a sweep. Its failure is recorded and not raised, so that the other jobs run; a signal ends the sweep."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

from transfer_cli import rundir
from transfer_cli.command.compose import to_plain
from transfer_cli.config.parse import parse
from transfer_cli.config.schema import Experiment
from transfer_cli.errors import EXIT_INTERRUPTED, EXIT_OK, EXIT_PREEMPTED, Stopped
from transfer_cli.files import write_json
from transfer_cli.records.terminal import Reporter
from transfer_cli.runs.several.attempt import attempt
from transfer_cli.sweeps import leaderboard

if TYPE_CHECKING:
    from omegaconf import DictConfig

JOB = "job.json"


def run_job(config: DictConfig) -> int:
    """Train one job in its own directory and record how it ended; returns its exit code."""
    from hydra.core.hydra_config import HydraConfig

    hydra = HydraConfig.get()
    directory = Path(hydra.runtime.output_dir)
    overrides = list(hydra.overrides.task)
    experiment = parse(to_plain(config))
    reporter = Reporter(quiet=experiment.quiet, prints_result=False)
    reporter.say(f"job {hydra.job.num}: {hydra.job.override_dirname or 'no overrides'}")
    before = leaderboard.read(directory / JOB)
    done = leaderboard.read(directory / rundir.SUMMARY).get("status") == "completed"
    started = time.perf_counter()
    code, error = _train(experiment, directory, reporter)
    seconds = time.perf_counter() - started
    if done and code == EXIT_OK:
        seconds = before.get("seconds", seconds)  # it took what it took then
    write_json(directory / JOB, {"overrides": overrides, "exit_code": code, "error": error, "seconds": seconds})
    leaderboard.write(directory.parent)
    return code


def _train(experiment: Experiment, directory: Path, reporter: Reporter) -> tuple[int, str | None]:
    """The exit code of the job, and its message where it failed; a signal goes through."""
    from transfer_cli.runs.ranks.launch import Frozen, count_devices, launch
    from transfer_cli.runs.train import train

    codes = []

    def work() -> None:
        devices = count_devices(experiment)
        if devices == 1:
            train(experiment, directory, reporter, may_exist=True)
        else:
            codes.append(launch(Frozen(experiment, directory, may_exist=True, prints_result=False), devices))

    code, error = attempt(work)
    if codes in ([EXIT_PREEMPTED], [EXIT_INTERRUPTED]):
        raise Stopped(codes[0], "in the middle of the sweep; the same command with resume=auto goes on from there")
    if codes in ([], [EXIT_OK]):
        return code, error
    # The rank has said why.
    return codes[0], leaderboard.read(directory / rundir.SUMMARY).get("error", f"exit code {codes[0]}")
