"""mode=auto: from pictures to a trained, calibrated model within a budget of time."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from transfer_cli import rundir
from transfer_cli.command.overrides import Overrides
from transfer_cli.config.durations import seconds_of
from transfer_cli.config.schema import Experiment
from transfer_cli.engine.stop import Stop
from transfer_cli.errors import EXIT_OK, RunError, UserError
from transfer_cli.records.terminal import Reporter
from transfer_cli.runs.automatic import stages
from transfer_cli.runs.automatic.journal import Journal
from transfer_cli.runs.automatic.plan import Plan
from transfer_cli.runs.automatic.stages import FINISH_EPOCHS, FINISH_SECONDS, PROBE_SHARE, Work
from transfer_cli.runs.calibration import calibrate


def run(experiment: Experiment, overrides: Overrides) -> int:
    """Probe backbones, plan, search, train and calibrate in outputs/auto/<name>; goes on where it was stopped."""
    e, reporter = experiment, Reporter(quiet=experiment.quiet)
    assert e.trainer.budget is not None
    budget = seconds_of(e.trainer.budget)
    assert budget is not None
    path = Path(e.output_dir) / "auto" / (e.name or rundir.stamped(e.dataset.name))
    if e.name and path.exists() and e.resume == "never":
        raise UserError(f"name={e.name}: {path} exists. Choose another name, or continue it with resume=auto.")
    rundir.check_writable(path.parent)
    for model in stages.backbones(e):
        _check_model(model, e)
    with rundir.claim(path, named=e.name is not None, may_exist=e.resume == "auto") as directory:
        reporter.open_log(directory / "run.log")
        with Journal(directory, budget) as journal:
            _work(Work(e, directory, journal, reporter))
    reporter.result(directory / "best")
    return EXIT_OK


def _work(work: Work) -> None:
    journal, reporter = work.journal, work.reporter
    asked = {"dataset": asdict(work.e.dataset), "seed": work.e.seed, "image_size": work.e.image_size}
    begun = journal.decide("asked", lambda: _plain(asked))
    if begun != _plain(asked):
        raise RunError(f"{work.directory} was begun with another data set, seed or image_size. Choose another name.")
    models = journal.decide("backbones", lambda: stages.backbones(work.e))
    probes: dict[str, dict[str, Any]] = {}
    for number, model in enumerate(models):
        name = f"probe of {model}"
        if number and not journal.has(name) and journal.spent > PROBE_SHARE * journal.budget:
            reporter.say(f"probe     {model}: left out, {PROBE_SHARE:.0%} of the budget is spent")
            probes[model] = journal.decide(name, lambda: {"error": "left out, the budget had no time for it"})
        else:
            probes[model] = journal.decide(name, lambda model=model: work.probe(model))  # type: ignore[misc]
    kept = journal.decide("kept", lambda: stages.keep(probes))
    pilots = [journal.decide(f"pilot of {model}", lambda model=model: work.pilot(model)) for model in kept]  # type: ignore[misc]
    plan = Plan.from_dict(journal.decide("plan", lambda: work.plan(pilots).to_dict()))
    finish = FINISH_SECONDS + FINISH_EPOCHS * max(pilot["seconds"] for pilot in pilots)
    summary = work.best(kept, plan, finish)
    metric = work.e.trainer.metric
    result = {split: scores[metric] for split in ("val", "test") if (scores := summary.get(split))}
    journal.decide("best", lambda: {"model": summary["model"], "best_epoch": summary["best_epoch"], **result})
    journal.decide("calibration", lambda: _calibrated(work))
    rows = [[name, f"{one['val']:.4f}" if "val" in one else "failed", ""] for name, one in probes.items()]
    scores = [f"{result[split]:.4f}" if split in result else "" for split in ("val", "test")]
    rows.append([f"best: {summary['model']}, finetuned", *scores])
    reporter.table(f"{metric}, {journal.spent:.0f} s of {journal.budget:.0f} s", ["what", "val", "test"], rows)


def _calibrated(work: Work) -> dict[str, float] | None:
    found = calibrate(work.directory / "best", work.reporter, Stop())
    return None if found is None else asdict(found)


def _check_model(model: str, e: Experiment) -> None:
    """Raises UserError for a name that no library knows."""
    from transfer_cli.models import backbones

    backbones.library(model, e.model.source)


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    """As JSON gives them back."""
    import json

    plain: dict[str, Any] = json.loads(json.dumps(values))
    return plain
