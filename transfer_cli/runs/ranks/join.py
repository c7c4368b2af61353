"""One process among several that train together: the first does what the command says, the others what it trains."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from contextlib import nullcontext, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import torch

from transfer_cli import collector, launched, signals
from transfer_cli.config.parse import parse
from transfer_cli.data.reading.workers import cpus
from transfer_cli.engine import state_files
from transfer_cli.engine.ranks.agreement import Following
from transfer_cli.engine.ranks.world import World, enter, lost_ranks
from transfer_cli.engine.stop import Stop
from transfer_cli.errors import (
    EXIT_FAILED,
    EXIT_INTERRUPTED,
    EXIT_OK,
    EXIT_PREEMPTED,
    EXIT_USER,
    FirstRankEnded,
    LostRankError,
    RunError,
    Stopped,
    UserError,
)
from transfer_cli.launched import Place
from transfer_cli.records.events import Recorders
from transfer_cli.records.terminal import Reporter
from transfer_cli.runs.loop_job import LoopJob
from transfer_cli.runs.share_job import AnyJob
from transfer_cli.runs.train import prepare_of

_ON_PURPOSE = (EXIT_OK, EXIT_PREEMPTED, EXIT_INTERRUPTED)


def as_rank(place: Place, work: Callable[[], int], *, says_lost: bool = True) -> int:
    """Join the others: the first does `work`, and they train what it trains. Returns the exit code.

    The first speaks for all, the others only of errors of their own; `says_lost`: it says as well that one is lost.
    """
    collector.settle()
    launched.take(place)
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(launched.share_of(cpus()))
    world = enter(place)
    code, all_there = EXIT_FAILED, True
    try:
        code = work() if world.is_first else follow(world)
    except LostRankError:
        all_there = False
        if world.is_first and says_lost:
            raise
    except BaseException as error:
        code = _code(error)
        if world.is_first:
            raise
        # What ends all of them, such as a loss that is not finite, the first says.
        if isinstance(error, Exception) and not world.first_ends():
            if isinstance(error, UserError | RunError):
                raise RunError(f"rank {world.rank}: {error}") from error
            raise
    finally:
        signals.ignore()
        world.end(code, lost=code not in _ON_PURPOSE, waits=all_there)
    return code


def _code(error: BaseException) -> int:
    if isinstance(error, Stopped | FirstRankEnded):
        return error.code
    if isinstance(error, KeyboardInterrupt):
        return EXIT_INTERRUPTED
    return EXIT_USER if isinstance(error, UserError) else EXIT_FAILED


def follow(world: World) -> NoReturn:
    """Train what the first rank trains, or compute its features, until it ends: raises FirstRankEnded then."""
    reporter = Reporter(quiet=True, prints_result=False)
    # The first has the same, and says so.
    warnings.simplefilter("ignore")
    ready: tuple[dict[str, Any], AnyJob] | None = None
    with Stop() as stop, lost_ranks():
        while True:
            told: dict[str, Any] = world.of_first(dict)
            directory = told.pop("directory")
            if ready is None or ready[0] != told:
                # What an earlier one holds goes first.
                ready = None
                # Where nothing is to be run yet, the first finds the same error, and judges it.
                with suppress(UserError, RunError) if directory is None else nullcontext():
                    ready = told, _prepared(told, reporter, Following(stop, world))
            if directory is None:
                continue
            assert ready is not None
            job, ready = replace(ready[1], world=world), None
            if isinstance(job, LoopJob):
                job.run(Path(directory), Recorders([]), reporter, stop).test_outputs()
            else:
                job.compute()


def _prepared(told: dict[str, Any], reporter: Reporter, stop: Stop) -> AnyJob:
    """The job of the first rank, at its precisions: what was measured there may come out otherwise here."""
    e = parse(told["experiment"])
    e = replace(e, trainer=replace(e.trainer, precision=told["precision"]))
    state = state_files.load(Path(told["state"])) if told["state"] else None
    teachers = {"precisions": told["teachers"]} if told["teachers"] else {}
    job = prepare_of(e)(e, reporter, stop, state, **teachers)
    assert isinstance(job, AnyJob)
    return job
