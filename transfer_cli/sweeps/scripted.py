"""mode=script of a sweep: a batch script whose processes share its jobs, printed in place of running them."""

from __future__ import annotations

import time
from dataclasses import replace

from transfer_cli.command.batch_script import batch, script, without_script
from transfer_cli.command.compose import compose, to_plain
from transfer_cli.command.grid import compose_grid
from transfer_cli.command.overrides import Overrides, parse_overrides
from transfer_cli.command.source import ConfigSource
from transfer_cli.config.parse import parse
from transfer_cli.config.schema import Experiment
from transfer_cli.errors import EXIT_OK, UserError
from transfer_cli.preflight import preflight
from transfer_cli.records.outlet import write_out
from transfer_cli.sweeps.folder import planned
from transfer_cli.sweeps.jobs import jobs_of

_OF_A_SEARCH = 4
_MOST_TASKS = 64


def print_script(source: ConfigSource, overrides: Overrides) -> int:
    """Print it, once every job is found to be right but for the devices that this machine lacks."""
    command = without_script(overrides)
    sweeper, without_sweeper = command.sweeper()
    for word in without_sweeper.of("hydra"):
        raise UserError(f"{word}: the processes of a script share the jobs and need no launcher; leave it out.")
    for one in overrides.swept:
        if one.key_or_group.partition(".")[0] in ("format", "script"):
            raise UserError(f"{one.input_line}: a script has one value of it.")
    _, shown = overrides.sweeper()
    about = parse(to_plain(compose(source, parse_overrides(shown.shared_words))))
    if sweeper == "search":
        from transfer_cli.sweeps.search.search import planned_search

        several, tasks = planned_search(source, without_sweeper).corners, _OF_A_SEARCH
    else:
        several = [job.experiment for job in jobs_of(compose_grid(source, without_sweeper))]
        tasks = min(len(several), _MOST_TASKS)
    planned([replace(e, resume="auto" if e.resume == "never" else e.resume, name=e.name or "sweep") for e in several])
    for e in several:
        preflight(_anywhere(e), in_sweep=True)
    from transfer_cli.runs.options import check_far_off

    for e in several:
        check_far_off(e)
    name = about.name or f"sweep_{time.strftime('%Y-%m-%d_%H-%M-%S')}"
    write_out(script(batch(source, command, about, name, tasks, flags=["-m"])))
    return EXIT_OK


def _anywhere(e: Experiment) -> Experiment:
    return replace(e, trainer=replace(e.trainer, device="cpu", devices=1))
