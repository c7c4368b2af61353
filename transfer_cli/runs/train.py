"""One experiment, from its configuration to a complete run directory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol

import yaml

from transfer_cli import rundir
from transfer_cli.config.parse import config_hash, differences, to_dict
from transfer_cli.config.schema import Experiment
from transfer_cli.data.describe import changed_since, describe
from transfer_cli.engine import device as devices
from transfer_cli.engine import states
from transfer_cli.engine.signals import StopRequest
from transfer_cli.errors import EXIT_INTERRUPTED, RunError, Stopped, UserError
from transfer_cli.files import atomic_write_text, write_json
from transfer_cli.records.summary import environment, write_summary
from transfer_cli.records.terminal import Reporter
from transfer_cli.rundir import completed_summary, saved_experiment
from transfer_cli.runs import extract as extracted
from transfer_cli.runs import finetune as finetuned
from transfer_cli.runs.distill import job as distilled
from transfer_cli.runs.finish import Outcome, finish
from transfer_cli.runs.materials import Materials
from transfer_cli.runs.sample_sheet import draw_samples


class Job(Protocol):
    """A training that is ready to run: how strategies differ once everything is gathered."""

    @property
    def materials(self) -> Materials:
        """What it starts from."""
        ...

    @property
    def precision(self) -> str:
        """At which it computes."""
        ...

    def run(self, directory: Path, reporter: Reporter, stop_code: Callable[[], int | None]) -> Outcome:
        """Train in the run directory. Raises Stopped where a signal asked for an end, its state saved."""
        ...


PREPARE: dict[str, Callable[[Experiment, Reporter, states.State | None], Job]] = {
    "finetune": finetuned.prepare,
    "extract": extracted.prepare,
    "distill": distilled.prepare,
}


def train(experiment: Experiment, path: Path, reporter: Reporter, *, may_exist: bool = False) -> dict[str, Any]:
    """Train in `path`, or go on there; returns the summary. Wrong input shows before a file is written.

    `may_exist`: the directory is ours already, as a sweep's job directory is.
    """
    resuming = experiment.resume != "never" and (path / rundir.CONFIG).is_file()
    if resuming:
        _check_same(experiment, path)
        done = completed_summary(path)
        if done is not None:
            reporter.say("this run is complete; nothing to do")
            reporter.result(path)
            return done
    state = _newest_state(experiment, path, reporter) if resuming else None
    job = PREPARE[experiment.strategy.name](experiment, reporter, state)
    may_exist |= experiment.resume != "never"
    with (
        rundir.claim(path, named=experiment.name is not None, may_exist=may_exist) as directory,
        StopRequest() as stop,
        _recorded(directory, job),
    ):
        reporter.open_log(directory / "run.log")
        _write_config(directory, job.materials, reporter)
        job.materials.known.keep()
        draw_samples(job.materials, directory)
        if experiment.trainer.epochs == 0:
            reporter.say("trainer.epochs=0: nothing trains")
            summary = _write_untrained(directory, job)
        else:
            outcome = job.run(directory, reporter, lambda: stop.code)
            summary = finish(outcome, job.materials, directory, reporter, lambda: stop.code)
    reporter.result(directory)
    return summary


def _write_config(directory: Path, materials: Materials, reporter: Reporter) -> None:
    e = materials.experiment
    (directory / rundir.SUMMARY).unlink(missing_ok=True)
    atomic_write_text(directory / rundir.CONFIG, yaml.safe_dump(to_dict(e), sort_keys=False, allow_unicode=True))
    write_json(directory / "environment.json", environment(e.seed, devices.device_name(materials.device)))
    dataset = describe(materials.pixels)
    changed = changed_since(directory / "dataset.json", dataset)
    if changed:
        reporter.warn(
            f"the images of {' and '.join(changed)} are not those that this run began with; "
            "it goes on, but will not end as it would have"
        )
    write_json(directory / "dataset.json", dataset)


@contextmanager
def _recorded(directory: Path, job: Job) -> Iterator[None]:
    """Whatever ends the run early leaves a summary that says so."""
    try:
        yield
    except Stopped as stopped:
        status = "interrupted" if stopped.code == EXIT_INTERRUPTED else "preempted"
        _write_unfinished(directory, job, status, str(stopped))
        raise
    except KeyboardInterrupt:
        _write_unfinished(directory, job, "interrupted", "interrupted twice: stopped at once")
        raise
    except UserError as error:
        # Found only while running (a damaged image, say), when there is a directory already.
        _write_unfinished(directory, job, "failed", str(error))
        raise RunError(str(error)) from error
    except OSError as error:
        reason = f"{error.filename or directory}: {error.strerror or error}"
        _write_unfinished(directory, job, "failed", reason)
        raise RunError(f"{reason}. The last good state is kept; mend this, then go on with resume=auto.") from error
    except Exception as error:
        _write_unfinished(directory, job, "failed", str(error) or type(error).__name__)
        raise


def _write_unfinished(directory: Path, job: Job, status: str, reason: str) -> None:
    # A full disk may be what ended the run; the reason goes to the terminal all the same.
    with suppress(OSError):
        write_summary(directory, status=status, error=reason, **_known_before(job))


def _write_untrained(directory: Path, job: Job) -> dict[str, Any]:
    """The summary of a run that was only to be looked at."""
    summary = {"status": "completed", **_known_before(job)}
    write_summary(directory, **summary)
    return summary


def _known_before(job: Job) -> dict[str, Any]:
    """What a summary can say before anything is trained."""
    e = job.materials.experiment
    return {
        "strategy": e.strategy.name,
        "model": e.model.name,
        "dataset": e.dataset.name,
        "seed": e.seed,
        "epochs": e.trainer.epochs,
        "device": devices.device_name(job.materials.device),
        "precision": job.precision,
        "config_hash": config_hash(e),
    }


def _check_same(experiment: Experiment, path: Path) -> None:
    """A run goes on only with the settings it began with."""
    different = differences(experiment, saved_experiment(path))
    if different:
        more = f" and {len(different) - 5} more" if len(different) > 5 else ""
        raise UserError(
            f"{path} was made with other settings: {'; '.join(different[:5])}{more}. "
            "Use the same settings to go on with it, or another name."
        )


def _newest_state(experiment: Experiment, path: Path, reporter: Reporter) -> states.State | None:
    state, warnings = states.newest_valid(path / rundir.CHECKPOINTS)
    if state is None and warnings and experiment.resume != "auto":
        raise UserError(f"resume={path}: no usable state. {'; '.join(warnings)}.")
    for warning in warnings:
        reporter.warn(warning)
    return state
