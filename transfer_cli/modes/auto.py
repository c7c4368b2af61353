"""mode=auto: from pictures to a trained, calibrated model within a budget of time."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from transfer_cli import rundir
from transfer_cli.command.overrides import Overrides
from transfer_cli.config.durations import seconds_of
from transfer_cli.config.parse import to_dict
from transfer_cli.config.schema import Experiment
from transfer_cli.data.same_images import check_listed
from transfer_cli.engine.stop import Stop
from transfer_cli.errors import EXIT_OK, UserError
from transfer_cli.files import write_json
from transfer_cli.models import backbones
from transfer_cli.records.terminal import Reporter
from transfer_cli.runs.automatic import stages
from transfer_cli.runs.automatic.journal import Journal
from transfer_cli.runs.automatic.plan import Plan
from transfer_cli.runs.automatic.stages import FINISH_EPOCHS, FINISH_SECONDS, PROBE_SHARE, Work
from transfer_cli.runs.calibration import calibrate
from transfer_cli.runs.reports.group_report import leave_group_report
from transfer_cli.runs.reports.run_report import images_of, leave_report
from transfer_cli.runs.several.shared_input import check_shared_input, check_weights

START_SECONDS = 5.0
"""Of the budget go to what comes before this file can look at a clock: Python, torch and the composing of settings."""


def run(experiment: Experiment, overrides: Overrides) -> int:
    """Probe backbones, plan, search, train and calibrate in outputs/auto/<name>; goes on where it was stopped."""
    began = time.monotonic() - START_SECONDS
    e, reporter = experiment, Reporter(quiet=experiment.quiet)
    assert e.trainer.budget is not None
    budget = seconds_of(e.trainer.budget)
    assert budget is not None
    path = Path(e.output_dir) / "auto" / (e.name or rundir.stamped(e.dataset.name))
    if e.name and path.exists() and e.resume == "never":
        raise UserError(f"name={e.name}: {path} exists. Choose another name, or continue it with resume=auto.")
    rundir.check_writable(path.parent)
    models = stages.backbones(e)
    for model in models:
        backbones.library(model, e.model.source)
    if path.exists():
        _check_same(e, path)
    else:
        _check_input(e, models, reporter)
    with rundir.claim(path, named=e.name is not None, may_exist=e.resume == "auto") as directory:
        reporter.open_log(directory / "run.log")
        with Journal(directory, budget, since=began) as journal:
            _work(Work(e, directory, journal, reporter), models)
        if journal.get("calibration") is not None:
            leave_report(directory / "best", lambda: images_of(directory / "best"), reporter.warn)
        leave_group_report(directory, reporter.warn)
    reporter.result(directory / "best")
    return EXIT_OK


def _asked(e: Experiment) -> dict[str, Any]:
    """What must not change on the way, as JSON gives it back."""
    values = to_dict(e)
    keys = ("model", "dataset", "seed", "image_size", "image_fit", "crop_fraction", "rank")
    same = {key: values[key] for key in keys}
    return {**same, "metric": e.trainer.metric}


def _check_same(e: Experiment, path: Path) -> None:
    """Raises UserError where something else was asked for before."""
    begun, asked = Journal(path, 0.0).get("asked"), _asked(e)
    changed = [key for key in asked if begun is not None and begun.get(key) != asked[key]]
    if changed:
        raise UserError(f"{path} was begun with another {', '.join(changed)}. Use the same, or choose another name.")
    check_listed(*((done, e) for done in (*sorted(path.glob("probes/*")), path / "best")))


def _check_input(e: Experiment, models: Sequence[str], reporter: Reporter) -> None:
    """Before anything is written. Raises UserError for images that cannot be read, or where no weights can be had."""
    problems = []
    for model in models:
        try:
            check_weights(replace(e, model=replace(e.model, name=model)), reporter)
        except UserError as error:
            problems.append(f"{model}: {error}")
            continue
        check_shared_input(replace(e, model=replace(e.model, name=model)), reporter)
        return
    raise UserError("\n".join(problems))


def _work(work: Work, models: Sequence[str]) -> None:
    journal, reporter = work.journal, work.reporter
    journal.decide("asked", lambda: _asked(work.e))
    models = journal.decide("backbones", lambda: [*models])
    probes: dict[str, dict[str, Any]] = {}
    for number, model in enumerate(models):
        name = f"probe of {model}"
        if number and not journal.has(name) and journal.spent > PROBE_SHARE * journal.budget:
            reporter.say(f"probe     {model}: left out, {PROBE_SHARE:.0%} of the budget is spent")
            probes[model] = journal.decide(name, lambda: {"error": "left out, the budget had no time for it"})
        else:
            probes[model] = journal.decide(name, lambda model=model: work.probe(model))  # type: ignore[misc]
    kept = journal.decide("kept", lambda: stages.keep(probes, work.e.trainer.metric))
    pilots = {name: journal.decide(f"pilot of {name}", lambda name=name: work.pilot(name)) for name in kept}  # type: ignore[misc]
    timed = {name: pilot for name, pilot in pilots.items() if "seconds" in pilot}
    summary = _finetuned(work, timed) if timed else work.probe_as_best(kept[0])
    metric = work.e.trainer.metric
    result = {split: scores[metric] for split in ("val", "test") if (scores := summary.get(split))}
    journal.decide("best", lambda: {"model": summary["model"], "best_epoch": summary["best_epoch"], **result})
    journal.decide("calibration", lambda: _calibrated(work))
    rows = [[name, f"{one['val']:.4f}" if "val" in one else "failed", ""] for name, one in probes.items()]
    scores = [f"{result[split]:.4f}" if split in result else "" for split in ("val", "test")]
    rows.append([f"best: {summary['model']}, {summary['strategy']}", *scores])
    reporter.table(f"{metric}, {journal.spent:.0f} s of {journal.budget:.0f} s", ["what", "val", "test"], rows)


def _finetuned(work: Work, pilots: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The summary of the winner of what fits into the time that is left; `pilots` by backbone, the best first."""
    plan = Plan.from_dict(work.journal.decide("plan", lambda: work.plan([*pilots.values()]).to_dict()))
    finish = FINISH_SECONDS + FINISH_EPOCHS * max(pilot["seconds"] for pilot in pilots.values())
    return work.best([*pilots], plan, finish)


def _calibrated(work: Work) -> dict[str, float] | None:
    best = work.directory / "best"
    found = calibrate(best, work.reporter, Stop())
    if found is None:
        return None
    # The other figures of the summary are those of the model as it was trained.
    write_json(best / rundir.SUMMARY, {**(rundir.completed_summary(best) or {}), "calibration": found.in_all})
    return found.in_all
