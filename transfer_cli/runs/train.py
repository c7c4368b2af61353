"""One experiment, from its configuration to a complete run directory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol, cast

import yaml

from transfer_cli import plugins, rundir
from transfer_cli.config.auto import is_open
from transfer_cli.config.continuation import continued, is_longer
from transfer_cli.config.convert import shown
from transfer_cli.config.distill import Distill
from transfer_cli.config.parse import to_dict
from transfer_cli.config.schema import Experiment
from transfer_cli.data.describe import FILE, changed_since, describe
from transfer_cli.data.same_images import check_decoded, check_listed
from transfer_cli.engine import state_files
from transfer_cli.engine.devices import device as devices
from transfer_cli.engine.devices import gpus
from transfer_cli.engine.ranks.agreement import first_stop
from transfer_cli.engine.ranks.world import ALONE, World, lost_ranks
from transfer_cli.engine.state_files import State
from transfer_cli.engine.stop import Stop
from transfer_cli.errors import UserError
from transfer_cli.files import atomic_write_text, write_json
from transfer_cli.records.events import Recorder, Recorders, RunEnd
from transfer_cli.records.loggers.detached import LoggersRecorder
from transfer_cli.records.summary import environment
from transfer_cli.records.terminal import Reporter
from transfer_cli.rundir import completed_summary, saved_experiment
from transfer_cli.runs.choices.candidates import Compare, Comparison, as_asked
from transfer_cli.runs.choices.search import begin, forget, is_begun, search
from transfer_cli.runs.clock import Clock
from transfer_cli.runs.distill import job as distill
from transfer_cli.runs.extract import job as extract
from transfer_cli.runs.failing import as_run_errors, recording_failure
from transfer_cli.runs.finetune import job as finetune
from transfer_cli.runs.finish import Outcome, finish, known_before
from transfer_cli.runs.loop_job import LoopJob
from transfer_cli.runs.materials import Materials
from transfer_cli.runs.recorders import recorders_of_run
from transfer_cli.runs.reports.run_report import leave_report, leave_whole
from transfer_cli.runs.sample_sheet import draw_samples
from transfer_cli.runs.share_job import AnyJob, on_all_ranks, prepare_together
from transfer_cli.runs.states.continuation import SAME, newest_state


class Prepare(Protocol):
    """What makes a job ready to run."""

    def __call__(self, e: Experiment, reporter: Reporter, stop: Stop, state: State | None, **more: Any) -> Any:
        """A `Job`; `more`: what this strategy alone takes."""
        ...


class Job(Protocol):
    """A training that is ready to run: all that differs between strategies."""

    @property
    def materials(self) -> Materials:
        """What it reads."""
        ...

    @property
    def precision(self) -> str:
        """At which it computes."""
        ...

    def run(self, directory: Path, recorders: Recorders, reporter: Reporter, stop: Stop) -> Outcome:
        """Train in the run directory. Raises Stopped where a signal asked for an end, its state saved."""
        ...


def train(
    e: Experiment,
    path: Path,
    reporter: Reporter,
    *,
    may_exist: bool = False,
    stop: Stop | None = None,
    compare: Compare = as_asked,
    out_of_time: Callable[[], bool] | None = None,
    world: World = ALONE,
    watchers: Sequence[Recorder] = (),
) -> dict[str, Any]:
    """Train in `path`, or go on there; returns the summary. Wrong input shows before a file is written.

    `may_exist`: the directory is ours already, as a sweep's job directory is. `stop`: what asks for an end, where it is
    not signals alone; `out_of_time` ends a training before its last epoch, with the best so far. `world`: the ranks
    that train together, this being the first of them; the others `follow`. `watchers` hang on the run as well.
    """

    def prepare(e: Experiment, reporter: Reporter, stop: Stop, state: State | None, **more: Any) -> Job:
        job = prepare_of(e)(e, reporter, stop, state, **more)
        return replace(job, out_of_time=out_of_time) if isinstance(job, LoopJob) else job

    resuming = e.resume != "never" and (path / rundir.CONFIG).is_file()
    begun, done = e, None
    if resuming:
        begun, done = saved_experiment(path), completed_summary(path)
        e, changed = continued(e, begun, str(path), SAME)
        # Before a teacher trains for hours.
        check_listed((path, e))
        if done is not None and not is_longer(changed):
            reporter.say("this run is complete; nothing to do")
            leave_whole(path, reporter.warn)
            reporter.result(path)
            return done
        for key, (new, old) in changed.items():
            reporter.say(f"changed   {key}={shown(new)}, {shown(old)} before")
        if done is not None and (done.get("calibration") or {}).get("temperature", 1) != 1:
            reporter.warn(f"the model was calibrated, what it becomes is not: transfer-run mode=calibrate run={path}")
    stop = first_stop(world) if stop is None else stop
    # While a search has not ended, its candidates have states and the run has none.
    searching = resuming and is_open(to_dict(e))
    if searching and not is_begun(path):
        raise UserError(
            f"{path} was begun by a version of transfer-run that chose its settings otherwise. Finish it with that "
            "version, or start it again under another name."
        )
    may_load = resuming and not searching
    state = newest_state(e, begun, path, reporter, complete=done is not None) if may_load else None
    if world.size > 1 and isinstance(e.strategy, Distill) and e.strategy.trains_first:
        reporter.warn(
            "the teacher is trained on one device while the others wait: train it in a command of its own first, then "
            "say strategy.teacher.weights=<run directory>"
        )
    if world.size == 1 and e.trainer.sharding == "full":
        reporter.warn(
            "trainer.sharding=full: one process has nobody to share with and trains as ever; trainer.devices=<N> or "
            "auto lets several train"
        )
    clock = Clock(went_on=state is not None)
    with clock.part("preparation"):
        several = world.size > 1 and isinstance(e.strategy, Distill)
        more = {"together": partial(prepare_together, world, state)} if several else {}
        job = prepare(e, reporter, stop, state, **more)
    if resuming:
        check_decoded(path, job.materials.pixels)
    tries = compare(e, job) if state is None and isinstance(job, LoopJob) else Comparison([], ())
    if world.size > 1 and not searching and tries.doubt is not None and not tries.doubt.few:
        # The others would wait for half of the training, but what is begun is not lost.
        if len(tries.candidates) > 1:
            reporter.say("search    left out, since one device would train while others wait; tune=full does it")
        tries = Comparison([], ())
    may_exist = may_exist or e.resume != "never"
    with rundir.claim(path, named=e.name is not None, may_exist=may_exist) as directory, stop:
        if resuming:
            _check_still(directory, state, done)
        with as_run_errors(directory):
            if len(tries.candidates) > 1:
                if world.size > 1:
                    reporter.warn(_waiting(world.size - 1))
                with clock.part("search"):
                    job, state = _best_of(tries, e, job, prepare, directory, reporter, stop)
            summary = _train_in(directory, job, state, reporter, stop, world, clock, watchers)
        leave_report(directory, lambda: job.materials.images, reporter.warn)
    reporter.result(directory)
    return summary


def _waiting(others: int) -> str:
    processes = "1 process waits" if others == 1 else f"{others} processes wait"
    return f"the search trains its candidates on one device, and {processes} meanwhile; tune=off leaves the search out"


def _best_of(
    tries: Comparison,
    asked: Experiment,
    job: Job,
    prepare: Prepare,
    directory: Path,
    reporter: Reporter,
    stop: Stop,
) -> tuple[Job, State | None]:
    """Compare candidates for what the settings leave open; the run of the best, and the state in which it goes on."""
    reporter.open_log(directory / "run.log")
    with recording_failure(recorders_of_run(directory, reporter, None), directory, partial(_known, job)):
        begin(directory)
        _write_config(directory, asked)
        _write_images(directory, job.materials, reporter)
        found = search(tries, prepare, directory, reporter, stop)
        # What there is to say of the first has been said.
        told = Reporter(quiet=True) if found.experiment == tries.candidates[0].experiment else reporter
        job = prepare(found.experiment, told, stop, found.state)
        return replace(job, goes_on="search    the winner goes on") if isinstance(job, LoopJob) else job, found.state


def _train_in(
    directory: Path,
    job: Job,
    state: State | None,
    reporter: Reporter,
    stop: Stop,
    world: World,
    clock: Clock,
    watchers: Sequence[Recorder],
) -> dict[str, Any]:
    """Train a prepared job in a directory that is ours."""
    m = job.materials
    reporter.open_log(directory / "run.log")
    loggers = [LoggersRecorder(m.experiment.loggers, reporter)] if m.experiment.loggers else []
    recorders = recorders_of_run(directory, reporter, state, [*watchers, *loggers])
    with recording_failure(recorders, directory, partial(_known, job)):
        _write_description(directory, m, reporter)
        forget(directory)
        m.machine.seen_weights.keep()
        draw_samples(m, directory)
        if m.experiment.trainer.epochs == 0:
            reporter.say("trainer.epochs=0: nothing trains")
            summary = {"status": "completed", **known_before(m, job.precision)}
            recorders.run_ends(RunEnd(directory, summary))
            return summary
        if world.size > 1:
            assert isinstance(job, AnyJob)
            job = on_all_ranks(job, state, directory, world, reporter)
        with lost_ranks():
            with clock.part("loop"):
                outcome = job.run(directory, recorders, reporter, stop)
            summary = finish(outcome, m, directory, recorders, stop, clock)
    if not isinstance(m.experiment.trainer.keep, int) and world.is_first:
        state_files.prune_completed(directory / state_files.FOLDER, m.experiment.trainer.keep)
    return summary


PREPARE: dict[str, Callable[..., Job]] = {
    "finetune": finetune.prepare,
    "extract": extract.prepare,
    # A student's teacher is trained first, by the same function.
    "distill": partial(distill.prepare, train),
}


def prepare_of(e: Experiment) -> Callable[..., Job]:
    """What prepares a training of this strategy: one of ours, or `prepare` of what an installed package adds."""
    name = e.strategy.name
    return PREPARE[name] if name in PREPARE else cast(Callable[..., Job], plugins.find("strategies", name).prepare)


def _write_description(directory: Path, m: Materials, reporter: Reporter) -> None:
    e = m.experiment
    _write_config(directory, e)
    about = environment(e.seed, devices.device_name(m.device), gpus.facts(m.device))
    write_json(directory / "environment.json", about)
    _write_images(directory, m, reporter)


def _write_images(directory: Path, m: Materials, reporter: Reporter) -> None:
    dataset = describe(m.pixels)
    changed = changed_since(directory, dataset)
    if changed:
        reporter.warn(
            f"the images of {' and '.join(changed)} have the names of those that this run began with, but not their "
            "content; it goes on, but will not end as it would have"
        )
    write_json(directory / FILE, dataset)


def _write_config(directory: Path, e: Experiment) -> None:
    (directory / rundir.SUMMARY).unlink(missing_ok=True)
    # How this process was told to go on is no setting of the run: whoever repeats it starts anew.
    values = to_dict(replace(e, resume="never"))
    atomic_write_text(directory / rundir.CONFIG, yaml.safe_dump(values, sort_keys=False, allow_unicode=True))


def _known(job: Job) -> dict[str, Any]:
    return known_before(job.materials, job.precision)


def _check_still(directory: Path, state: State | None, done: dict[str, Any] | None) -> None:
    """Raises UserError where another process has continued the run since its state was read."""
    gone = state is not None and not state.path.is_dir()
    if gone or completed_summary(directory) != done:
        raise UserError(f"{directory}: another process has continued this run meanwhile; run the command again.")
