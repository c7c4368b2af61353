"""mode=train: one experiment, from its configuration to a complete run directory."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from transfer_cli import gpu_slots, rundir
from transfer_cli.command.overrides import Overrides
from transfer_cli.config.continuation import OF_THE_COMMAND, OF_THE_MACHINE, check, with_values_of
from transfer_cli.config.parse import changes
from transfer_cli.config.schema import Experiment
from transfer_cli.engine.ranks.world import current
from transfer_cli.errors import EXIT_OK
from transfer_cli.records.terminal import Reporter
from transfer_cli.rundir import saved_experiment
from transfer_cli.runs.ranks.launch import Frozen, count_devices, launch
from transfer_cli.runs.train import train


def run(experiment: Experiment, overrides: Overrides) -> int:
    """Train one experiment in the directory its name asks for."""
    if experiment.resume not in ("never", "auto"):
        experiment = _saved_with_overrides(experiment, overrides)
    path, world = rundir.planned(experiment), current()
    reporter = Reporter(quiet=experiment.quiet)
    if world.size == 1:
        gpu_slots.claim(experiment, reporter.say, wait=False)
    devices = count_devices(experiment)
    if world.size == 1 and devices > 1:
        return launch(Frozen(experiment, path), devices)
    train(experiment, path, reporter, world=world)
    return EXIT_OK


def _saved_with_overrides(experiment: Experiment, overrides: Overrides) -> Experiment:
    """For resume=<run directory>: that run's own settings, but for what the command says and the run can take.

    A recipe may set anything, so a command that names one must agree in everything.
    """
    path = Path(experiment.resume)
    saved = saved_experiment(path)
    recipe = overrides.names("experiment")
    named = {key: pair for key, pair in changes(experiment, saved).items() if recipe or overrides.names(key)}
    check(named, saved, f"resume={path}: that run", "Leave them out to go on with it, or start another run.")
    of_the_machine = [key for key in OF_THE_MACHINE if key in OF_THE_COMMAND or overrides.names(key)]
    of_its_length = ["trainer.patience"] if "trainer.epochs" in named else []
    return replace(
        with_values_of(experiment, saved, [*named, *of_its_length, *of_the_machine]),
        resume=experiment.resume,
        quiet=experiment.quiet,
        cache_dir=experiment.cache_dir,
        output_dir=experiment.output_dir,
    )
