"""From the first of several ranks to the others: what they train, chosen and checked."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from torch.nn.modules.batchnorm import _BatchNorm

from transfer_cli.config.auto import chosen
from transfer_cli.config.parse import to_dict
from transfer_cli.engine.checkpoints import State
from transfer_cli.engine.ranks.world import World
from transfer_cli.records.terminal import Reporter
from transfer_cli.runs.loop_job import LoopJob
from transfer_cli.runs.options import terms_of_batches


def on_all_ranks(job: LoopJob, state: State | None, directory: Path, world: World, reporter: Reporter) -> LoopJob:
    """The job as one of all ranks, the others being told what they need for theirs."""
    if world.size == 1:
        return job
    _say_ranks(job, world, reporter)
    m = job.materials
    values = to_dict(replace(m.experiment, cache_size=m.machine.cache.max_bytes / 2**30))
    values["trainer"]["precision"] = job.precision
    told = {"experiment": values, "directory": str(directory.resolve()), "state": state and str(state.path.resolve())}
    world.of_first(lambda: told)
    return replace(job, world=world)


def _say_ranks(job: LoopJob, world: World, reporter: Reporter) -> None:
    """What is as in one process, and what is not."""
    e = job.materials.experiment
    images = e.trainer.step_images
    reporter.say(f"ranks     {world.size} processes, which share the {images} images of a step")
    together = terms_of_batches(e)
    if together:
        reporter.warn(f"{' and '.join(together)} compare the images of one rank's share of a step, and no others")
    if any(isinstance(layer, _BatchNorm) for layer in job.network.modules()):
        share = min(images // world.size, chosen(e.trainer.batch_size))
        reporter.say(f"ranks     BatchNorm, where it trains, normalises over the {share} images of one rank")
