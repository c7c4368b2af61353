"""A search: trials one after the other in this process, and in as many others as start the same command."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from transfer_cli import rundir, time_limit
from transfer_cli.command.compose import compose, to_plain
from transfer_cli.command.grid import composed
from transfer_cli.command.overrides import Overrides, parse_overrides
from transfer_cli.command.source import ConfigSource
from transfer_cli.config.commands import Sweep
from transfer_cli.config.continuation import with_what_was_settled
from transfer_cli.config.objectives import direction
from transfer_cli.config.parse import differences, parse, to_dict
from transfer_cli.config.schema import Experiment
from transfer_cli.errors import EXIT_FAILED, EXIT_OK, UserError, counted
from transfer_cli.extras import need
from transfer_cli.preflight import preflight
from transfer_cli.records.terminal import Reporter
from transfer_cli.runs.reports.group_report import leave_group_report
from transfer_cli.runs.reports.pareto import front_of, objectives_of
from transfer_cli.sweeps import leaderboard
from transfer_cli.sweeps.folder import check_images, planned
from transfer_cli.sweeps.jobs import Job, jobs_of
from transfer_cli.sweeps.ledger import COMPLETED, PRUNED, Ledger, failures, joined, of_command, read_ledger, status
from transfer_cli.sweeps.one_job import run_job
from transfer_cli.sweeps.search.space import Space, corners, searched, space_of, words_of
from transfer_cli.sweeps.search.study import Study, check_settings
from transfer_cli.sweeps.search.watching import TrialWatcher
from transfer_cli.sweeps.sharing import writing
from transfer_cli.sweeps.standing import Standing

if TYPE_CHECKING:
    import optuna

_MAY_DIFFER = ("seed", "dataset.path", "dataset.download", "trainer.device", "trainer.compile")
"""Keys by which the processes of one search may differ: where things are, and what chance decides."""
_MOST_NAMED = 3


@dataclass(frozen=True)
class Search:
    """What all trials of one command share."""

    source: ConfigSource
    overrides: Overrides
    base: Experiment
    begun: Experiment
    """The same, as the first process had it."""
    folder: Path
    study: Study
    launch: str

    def entered(self, trial: optuna.Trial) -> tuple[Ledger, Job]:
        """The ledger with the job of a trial, which is in it now, and that job."""
        found = composed(
            self.source,
            [[*self.overrides.shared_words, *words_of(trial.params, self.study.space)]],
            {*self.study.space},
        )
        (job,) = jobs_of(found)
        job = replace(job, experiment=with_what_was_settled(job.experiment, self.base, self.begun))
        with writing(self.folder):
            ledger = joined(self.folder, read_ledger(self.folder), [job], self.launch)
            ledger.write(self.folder)
        return ledger, of_command(ledger, [job])[0]

    def ledger(self) -> Ledger:
        """All jobs so far, those of other processes too."""
        return Ledger(read_ledger(self.folder).jobs, self.launch)


def run_search(source: ConfigSource, overrides: Overrides) -> int:
    """Run what is missing of the trials; 0 if there are enough, and one of them completed."""
    if overrides.of("hydra"):
        raise UserError(
            f"{overrides.of('hydra')[0]}: trials run in the process that searches. Start the same command, with a name "
            "and resume=auto, in several shells or on several machines: they share one study."
        )
    begins = planned_search(source, overrides)
    base, overrides, space = begins.base, begins.overrides, begins.space
    for corner in begins.corners:
        _check(corner)
    folder = planned(begins.corners)
    epochs = [one.trainer.epochs for one in begins.corners if isinstance(one.trainer.epochs, int)]
    reporter = Reporter(quiet=base.quiet)
    time_limit.start(base.trainer.time_limit)
    rundir.make(folder, named=base.name is not None, may_exist=base.resume == "auto")
    directions = tuple(direction(name) for name in objectives_in(base))
    study = Study(folder.resolve(), space, base.sweep, base.seed, directions, max(epochs, default=None))
    if study.is_of_another_space():
        raise UserError(f"resume=auto: the trials of {folder} were drawn from other ranges. Choose another name.")
    begun = parse(study.begun_with(to_dict(base)))
    _check_settings(folder, base, begun)
    search = Search(source, overrides, base, begun, study.folder, study, uuid.uuid4().hex[:8])
    check_images(search.folder, search.ledger())
    reporter.say(f"search with {counted(base.sweep.trials, 'trial')} in {folder}, over")
    for one in overrides.swept:
        reporter.say(f"  {one.input_line}")
    if base.sweep.objectives:
        reporter.say(
            f"for the front of {' and '.join(base.sweep.objectives)}: with several objectives nothing is pruned"
        )
    try:
        _run_trials(search, begins.corners, reporter)
    finally:
        rows = leaderboard.write(search.folder, base.sweep.objectives)
    leaderboard.show(rows, reporter, front_of(search.folder, rows, base.sweep.objectives))
    leave_group_report(search.folder, reporter.warn)
    return _close(search, folder, reporter)


@dataclass(frozen=True)
class PlannedSearch:
    """What a command searches over, before anything is written."""

    base: Experiment
    """The settings that all trials share."""
    overrides: Overrides
    """With the keys that are searched where none was named."""
    space: Space
    corners: list[Experiment]
    """Trials in which each range is at its ends and each choice is made."""


def planned_search(source: ConfigSource, overrides: Overrides) -> PlannedSearch:
    """The search of a command. Raises UserError for settings and ranges that are wrong."""
    for word in overrides.of("sweep.retry_failed"):
        raise UserError(f"{word}: a search proposes other settings in place of those that failed; leave it out.")
    need("optuna", "search", "hydra/sweeper=search")
    base = parse(to_plain(compose(source, parse_overrides(overrides.shared_words))))
    _check_pruner(overrides, base.sweep)
    overrides = searched(overrides, base.strategy.name, base.optimizer.name)
    space = space_of(overrides, base)
    check_settings(base.sweep, space)
    several = [parse(to_plain(compose(source, parse_overrides(words)))) for words in corners(overrides)]
    return PlannedSearch(base, overrides, space, several)


def objectives_in(base: Experiment) -> tuple[str, ...]:
    """What its trials are for: several objectives, or the metric of the training."""
    return base.sweep.objectives or (base.trainer.metric,)


def _check_pruner(overrides: Overrides, settings: Sweep) -> None:
    """Raises UserError where trials were to be pruned that have several objectives; Optuna cannot."""
    asked = settings.pruner != Sweep().pruner or bool(overrides.of("sweep.pruner"))
    if settings.objectives and asked and settings.pruner != "none":
        raise UserError(
            f"sweep.pruner={settings.pruner}: with several objectives (sweep.objectives) no trial ends early, since "
            "none falls behind in all of them for certain; leave it out."
        )


def _check_settings(folder: Path, ours: Experiment, begun: Experiment) -> None:
    """Raises UserError where trials would train otherwise than those that they are compared with."""
    refused = differences(ours, begun, but=_MAY_DIFFER)
    new, old = (f"sweep.objectives=[{','.join(one.sweep.objectives)}]" for one in (ours, begun))
    refused += [f"{new} (there {old.partition('=')[2]})"] if new != old else []
    if refused:
        raise UserError(
            f"resume=auto: the trials of {folder} were made with other settings: {'; '.join(refused[:_MOST_NAMED])}. "
            "Use the same settings to go on with it, or another name."
        )


def _check(e: Experiment) -> None:
    """Raises UserError for a trial that could not run here."""
    preflight(e, in_sweep=True)
    from transfer_cli.runs.options import check_options

    check_options(e)


def _run_trials(search: Search, several: Sequence[Experiment], reporter: Reporter) -> None:
    trials = search.study.settings.trials
    standing = Standing(search.folder, {one.key_or_group for one in search.overrides.swept}, trials)
    with standing.shown(reporter, several) as redraw:
        _run_each(search, reporter, standing, redraw)


def _run_each(search: Search, reporter: Reporter, standing: Standing, redraw: Callable[[], None]) -> None:
    most = search.study.settings.most_failures
    while most is None or failures(search.folder, search.ledger()) < most:
        with search.study.next_trial() as trial:
            if trial is None:
                return
            ledger, job = search.entered(trial)
            standing.begins(job.name, trial.number + 1)
            number = f"{trial.number + 1} of {search.study.settings.trials}"
            reporter.say(f"trial {number}: {' '.join(words_of(trial.params, search.study.space))}")
            redraw()
            _run_trial(search, trial, ledger, job, reporter.of_job())


def _run_trial(search: Search, trial: optuna.Trial, ledger: Ledger, job: Job, reporter: Reporter) -> None:
    directory = search.folder / job.name
    if status(directory) in (COMPLETED, PRUNED):
        # Whoever ran it was killed before saying so.
        rundir.clear_unfinished(directory)
    else:
        # Optuna prunes by one value.
        alone = not job.experiment.sweep.objectives
        watchers = [TrialWatcher(trial, job.experiment.trainer.metric)] if alone else []
        run_job(search.folder, ledger, job, reporter, watchers)
    ended = status(directory)
    found = objectives_of(directory, objectives_in(search.base)) if ended == COMPLETED else [None]
    values = [value for value in found if value is not None]
    search.study.finish(trial, values if len(values) == len(found) else None, pruned=ended == PRUNED)


def _close(search: Search, folder: Path, reporter: Reporter) -> int:
    counts = search.study.counts()
    others = [f"{number} {state}" for state, number in counts.items() if number and state != "complete"]
    for one in search.study.best():
        reporter.say(
            f"{'front' if search.base.sweep.objectives else 'best':10}{' '.join(words_of(one, search.study.space))}"
        )
    reporter.say(", ".join([f"{counts['complete']} of {sum(counts.values())} trials complete", *others]))
    reporter.result(folder)
    return EXIT_OK if counts["complete"] and sum(counts.values()) >= search.study.settings.trials else EXIT_FAILED
