"""mode=script: a batch script of a training, printed in place of running it; `sweeps.scripted` is that of a sweep."""

from __future__ import annotations

from dataclasses import replace

from transfer_cli import rundir
from transfer_cli.command.batch_script import batch, script, without_script
from transfer_cli.command.compose import compose, to_plain
from transfer_cli.command.overrides import Overrides
from transfer_cli.command.source import ConfigSource
from transfer_cli.config.parse import parse
from transfer_cli.config.schema import Experiment
from transfer_cli.errors import EXIT_OK, UserError
from transfer_cli.preflight import preflight
from transfer_cli.records.outlet import write_out


def run(experiment: Experiment, overrides: Overrides, source: ConfigSource) -> int:
    """Print the script of a training that could start here, but for the devices that this machine lacks."""
    if experiment.script.tasks not in (None, 1):
        raise UserError(f"script.tasks={experiment.script.tasks}: one training is one process; add -m for a sweep.")
    if experiment.resume not in ("never", "auto"):
        raise UserError(f"resume={experiment.resume}: a script goes on with a training by its name; say name=<name>.")
    command = without_script(overrides)
    e = parse(to_plain(compose(source, command)))
    preflight(replace(e, resume="auto", trainer=replace(e.trainer, device="cpu", devices=1)))
    from transfer_cli.runs.options import check_far_off

    check_far_off(e)
    name = e.name or rundir.stamped(e.strategy.name, e.model.name, e.dataset.name)
    write_out(script(batch(source, command, experiment, name, at_most=1)))
    return EXIT_OK
