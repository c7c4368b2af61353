"""mode=train: one experiment, from its configuration to a complete run directory."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from transfer_cli import rundir
from transfer_cli.command.overrides import Overrides
from transfer_cli.config.parse import differences
from transfer_cli.config.schema import Experiment
from transfer_cli.engine.world import current
from transfer_cli.errors import EXIT_OK, UserError
from transfer_cli.records.terminal import Reporter
from transfer_cli.rundir import saved_experiment
from transfer_cli.runs.ranks.launch import Frozen, count_devices, launch
from transfer_cli.runs.train import train


def run(experiment: Experiment, overrides: Overrides) -> int:
    """Train one experiment in the directory its name asks for."""
    if experiment.resume not in ("never", "auto"):
        experiment = _saved_with_overrides(experiment, overrides)
    path, world = rundir.planned(experiment), current()
    devices = count_devices(experiment)
    if world.size == 1 and devices > 1:
        return launch(Frozen(experiment, path), devices)
    train(experiment, path, Reporter(quiet=experiment.quiet), world=world)
    return EXIT_OK


def _saved_with_overrides(experiment: Experiment, overrides: Overrides) -> Experiment:
    """For resume=<run directory>: that run's own settings; what the command repeats must agree with them.

    A recipe may set anything, so a command that names one must agree in everything.
    """
    path = Path(experiment.resume)
    saved = saved_experiment(path)
    named = overrides.names("experiment")
    wrong = [line for line in differences(experiment, saved) if named or overrides.names(line.split("=")[0])]
    if wrong:
        raise UserError(
            f"resume={path}: that run was made with other settings: {'; '.join(wrong[:5])}. Leave them out to go "
            "on with it, or start another run."
        )
    machine = replace(saved.trainer, workers=experiment.trainer.workers, devices=experiment.trainer.devices)
    return replace(
        saved,
        trainer=machine,
        resume=experiment.resume,
        quiet=experiment.quiet,
        cache_dir=experiment.cache_dir,
        output_dir=experiment.output_dir,
    )
