"""From the first of several ranks to the others: what they train, chosen and checked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch.nn.modules.batchnorm import _BatchNorm

from transfer_cli.config.auto import chosen
from transfer_cli.config.parse import to_dict
from transfer_cli.engine.ranks.world import World
from transfer_cli.engine.state_files import State
from transfer_cli.records.terminal import Reporter
from transfer_cli.runs.distill.teacher_outputs import TaughtInputs
from transfer_cli.runs.extract.job import ExtractJob
from transfer_cli.runs.extract.unlabelled import UnlabelledJob
from transfer_cli.runs.loop_job import LoopJob
from transfer_cli.runs.materials import Materials
from transfer_cli.runs.options import terms_of_batches

AnyJob = LoopJob | ExtractJob | UnlabelledJob


def on_all_ranks(job: AnyJob, state: State | None, directory: Path, world: World, reporter: Reporter) -> AnyJob:
    """The job as one of several ranks, the others being told what they need for theirs."""
    if isinstance(job, LoopJob):
        _say_ranks(job, world, reporter)
    else:
        reporter.say(f"ranks     {world.size} processes, which compute features together; the first does the rest")
    taught = isinstance(job, LoopJob) and isinstance(job.inputs, TaughtInputs)
    teachers = job.inputs.precisions if taught else []  # type: ignore[union-attr]
    _tell(world, job.materials, job.precision, teachers, state, directory)
    return replace(job, world=world)


def prepare_together(world: World, state: State | None, m: Materials, precision: str, teachers: Sequence[str]) -> None:
    """Let the others prepare the job as well, now that all is chosen: they share in what that computes.

    Nothing is written by then but the cache, whose locks say who computes what.
    """
    _tell(world, m, precision, teachers, state, None)


def _tell(
    world: World, m: Materials, precision: str, teachers: Sequence[str], state: State | None, directory: Path | None
) -> None:
    told: dict[str, Any] = {
        "experiment": to_dict(replace(m.experiment, cache_size=m.machine.cache.max_bytes / 2**30)),
        "precision": precision,
        "teachers": [*teachers],
        "state": state and str(state.path.resolve()),
        "directory": directory and str(directory.resolve()),
    }
    world.of_first(lambda: told)


def _say_ranks(job: LoopJob, world: World, reporter: Reporter) -> None:
    """What is as in one process, and what is not."""
    e = job.materials.experiment
    images = e.trainer.step_images
    reporter.say(f"ranks     {world.size} processes, which share the {images} images of a step")
    if e.trainer.sharding == "full":
        reporter.say("ranks     weights, gradients and the optimizer's state are shared out: trainer.sharding=full")
    together = terms_of_batches(e)
    if together:
        reporter.warn(f"{' and '.join(together)} compare the images of one rank's share of a step, and no others")
    if any(isinstance(layer, _BatchNorm) for layer in job.network.modules()):
        share, of = min(images // world.size, chosen(e.trainer.batch_size)), "one rank"
        if e.trainer.sync_batch_norm:
            share, of = share * world.size, "all ranks"
        reporter.say(f"ranks     BatchNorm, where it trains, normalises over the {share} images of {of}")
