"""mode=calibrate: a trained model whose confidences mean what they say, by a temperature fitted on validation."""

from __future__ import annotations

from pathlib import Path

from transfer_cli import rundir
from transfer_cli.command.overrides import Overrides
from transfer_cli.config.schema import Experiment
from transfer_cli.engine.stop import Stop
from transfer_cli.errors import EXIT_OK, UserError
from transfer_cli.files import write_json
from transfer_cli.records.terminal import Reporter
from transfer_cli.runs.calibration import Calibrated, calibrate, why_not
from transfer_cli.runs.reports.run_report import images_of, leave_report
from transfer_cli.runs.saved_model import warn_of_unread


def run(experiment: Experiment, overrides: Overrides) -> int:
    """Divide the model's head by the temperature; the summary and the page of the run say so."""
    directory, reporter = Path(str(experiment.run)), Reporter(quiet=experiment.quiet)
    warn_of_unread(overrides, reporter, "dataset", "seed", "split")
    reason = why_not(directory)
    if reason is not None:
        raise UserError(f"run={directory}: {reason}")
    if "status" not in rundir.read_json(directory / rundir.SUMMARY):
        raise UserError(f"run={directory}: {rundir.SUMMARY} is missing or damaged; it would say how the model changes.")
    with rundir.claim(directory, named=True, may_exist=True):
        found = calibrate(directory, reporter, Stop(), experiment)
        if found is None:
            raise UserError(f"run={directory}: it has no images of validation to fit a temperature on.")
        if not found.changed:
            error = f"its calibration error, {found.before:.4f}"
            reporter.say(f"nothing was changed: no temperature that suits validation lowers {error}")
        # A process that was killed may have changed the weights and not have said so.
        if found.changed or (found.temperature != 1 and not _is_recorded(directory)):
            _record(directory, found)
            leave_report(directory, lambda: images_of(directory), reporter.warn)
    reporter.result(directory)
    return EXIT_OK


def _is_recorded(directory: Path) -> bool:
    return bool(rundir.read_json(directory / rundir.SUMMARY).get("calibration"))


def _record(directory: Path, found: Calibrated) -> None:
    """The temperature in the summary, with the error that the model began with, before any."""
    summary = rundir.read_json(directory / rundir.SUMMARY)
    write_json(directory / rundir.SUMMARY, {**summary, "calibration": found.in_all})
