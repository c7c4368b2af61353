"""How the jobs of a sweep are started: one after the other in this process, or by a launcher of Hydra's."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transfer_cli.command import hydra_settings
from transfer_cli.command.overrides import Overrides
from transfer_cli.command.source import ConfigSource, compose_plainly, quoted, search_path
from transfer_cli.errors import RunError, counted, first_line
from transfer_cli.records.terminal import Reporter
from transfer_cli.strategies.shared_fits import SharedFits
from transfer_cli.sweeps.jobs import Job
from transfer_cli.sweeps.ledger import COMPLETED, FAILED, Ledger, status
from transfer_cli.sweeps.one_job import run_for_hydra, run_job
from transfer_cli.sweeps.presets import preset_words
from transfer_cli.sweeps.standing import Standing

if TYPE_CHECKING:
    from hydra.plugins.launcher import Launcher

IN_THIS_PROCESS = "basic"
_MOST_LAUNCHES = 3
"""Of a job whose process is killed each time, with all that runs beside it."""


def launcher_of(source: ConfigSource, overrides: Overrides) -> str:
    """The launcher that the command or a file of the user's chooses."""
    if source.is_ours() and not overrides.of("hydra"):
        return IN_THIS_PROCESS
    composed = compose_plainly(source, overrides.arguments, multirun=True)
    return str(composed.hydra.runtime.choices["hydra/launcher"])


def launch(
    source: ConfigSource,
    overrides: Overrides,
    folder: Path,
    ledger: Ledger,
    jobs: Sequence[Job],
    reporter: Reporter,
    *,
    alone: bool,
) -> None:
    """Run these jobs of a sweep. Their failures are in their directories; Stopped ends all of it.

    `alone`: no other process ran jobs of this sweep when this one began.
    """
    launcher = launcher_of(source, overrides)
    if launcher == IN_THIS_PROCESS:
        # One process trains heads of jobs to come. Of others each would train them all again.
        fits = SharedFits.of(job.experiment for job in (jobs if alone else ()))
        _one_by_one(overrides, folder, ledger, jobs, fits, reporter)
        return
    if not jobs:
        return
    left, reason = [*jobs], ""
    presets = preset_words(launcher, [job.experiment for job in jobs], overrides)
    for _ in range(_MOST_LAUNCHES):
        if reason:
            reporter.warn(f"{launcher}: a process is gone ({reason}); {counted(len(left), 'job')} start again")
        error = _by_hydra(source, overrides, presets, folder, left)
        left = [job for job in left if status(folder / job.name) not in (COMPLETED, FAILED)]
        if error is None or not left:
            return
        reason = first_line(error)
    raise RunError(f"hydra/launcher={launcher}: {reason}; {counted(len(left), 'job')} did not end.")


def _one_by_one(
    overrides: Overrides, folder: Path, ledger: Ledger, jobs: Sequence[Job], fits: SharedFits, reporter: Reporter
) -> None:
    standing = Standing(folder, {one.key_or_group for one in overrides.swept})
    with standing.shown(reporter, [job.experiment for job in jobs]) as redraw:
        for number, job in enumerate(jobs, 1):
            standing.begins(job.name)
            reporter.say(f"job {number} of {len(jobs)}: {job.name}")
            redraw()
            with fits.during(job.experiment):
                run_job(folder, ledger, job, reporter.of_job())


def _by_hydra(
    source: ConfigSource, overrides: Overrides, presets: list[str], folder: Path, jobs: Sequence[Job]
) -> Exception | None:
    """Hand jobs to the launcher; the error that ended it, where one did."""
    from hydra.core.global_hydra import GlobalHydra

    launcher = _launcher(source, [*presets, *overrides.shared_words], folder)
    try:
        ends = launcher.launch([[*job.words, f"hydra.sweep.subdir='{job.name}'"] for job in jobs], 0)
        for end in ends:
            # Reading the value of a job that raised raises it here.
            _ = end.return_value
    except Exception as error:
        # Of the launcher's library: a worker that was killed, a cluster that does not answer.
        return error
    finally:
        GlobalHydra.instance().clear()
    return None


def _launcher(source: ConfigSource, said: list[str], folder: Path) -> Launcher:
    from hydra._internal.callbacks import Callbacks
    from hydra._internal.hydra import Hydra
    from hydra._internal.utils import create_config_search_path
    from hydra.core.plugins import Plugins
    from hydra.types import HydraContext, RunMode

    hydra: Any = Hydra.create_main_hydra2("transfer-run", create_config_search_path(str(source.path)))
    words = [
        search_path(source),
        *said,
        *hydra_settings.OURS,
        f"hydra.sweep.dir={quoted(str(folder))}",
    ]
    config = hydra.compose_config(source.name, words, RunMode.MULTIRUN, with_log_configuration=False)
    context = HydraContext(config_loader=hydra.config_loader, callbacks=Callbacks(config))
    return Plugins.instance().instantiate_launcher(hydra_context=context, task_function=run_for_hydra, config=config)
