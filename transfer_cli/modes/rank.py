"""mode=rank: which backbone suits a data set, by its frozen features, before anything is trained."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path

from transfer_cli import rundir
from transfer_cli.command.overrides import Overrides
from transfer_cli.config.extract import Extract, linear_probe
from transfer_cli.config.parse import to_dict
from transfer_cli.config.schema import Experiment
from transfer_cli.csv_files import write_csv
from transfer_cli.engine.stop import Stop
from transfer_cli.errors import EXIT_FAILED, EXIT_OK, RunError, UserError
from transfer_cli.files import atomic_write_text
from transfer_cli.methods.probes.ranking import BackboneScores, backbone_scores
from transfer_cli.models import backbones
from transfer_cli.records import plots
from transfer_cli.records.terminal import Reporter
from transfer_cli.runs.extract import job as extract
from transfer_cli.runs.views import NO_AUGMENT
from transfer_cli.strategies.extract import table

COLUMNS = (
    "model",
    "log_me",
    "h_score",
    "shrunk_h_score",
    "knn_accuracy",
    "ncm_accuracy",
    "probe_accuracy",
    "feature_width",
    "parameters",
    "seconds",
    "error",
)


@dataclass(frozen=True)
class Ranked:
    """One backbone: its scores, or why there are none."""

    model: str
    scores: BackboneScores | None
    feature_width: int | None
    parameters: int | None
    seconds: float
    error: str | None


def run(experiment: Experiment, overrides: Overrides) -> int:
    """Score every backbone of `rank.models`; a table, `rank.csv` and a picture, best first."""
    reporter = Reporter(quiet=experiment.quiet)
    path = rundir.fresh(experiment, "ranks")
    for name in experiment.rank.models:
        backbones.library(name, experiment.model.source)
    with Stop() as stop:
        ranked = [_rank(experiment, name, reporter, stop) for name in experiment.rank.models]
    if all(one.scores is None for one in ranked):
        raise UserError("\n".join(f"{one.model}: {one.error}" for one in ranked))
    ranked.sort(key=lambda one: (one.scores is None, -(one.scores.log_me if one.scores else 0.0)))
    with rundir.claim_fresh(path, named=experiment.name is not None) as directory:
        _record(experiment, ranked, directory)
    _show(experiment, ranked, reporter)
    reporter.result(directory)
    return EXIT_OK if all(one.scores for one in ranked) else EXIT_FAILED


def _rank(experiment: Experiment, name: str, reporter: Reporter, stop: Stop) -> Ranked:
    """One backbone. That its weights cannot be had, or its features not be computed, does not end the others."""
    reporter.say(f"-- {name}")
    started = time.perf_counter()
    config = experiment.strategy if isinstance(experiment.strategy, Extract) else linear_probe("ridge")
    e = replace(experiment, model=replace(experiment.model, name=name), strategy=config, augment=NO_AUGMENT)
    try:
        job, cached = extract.cached_features(e, reporter, stop)
        scores = backbone_scores(*table(cached, "train"), *table(cached, "val"), cached.classes)
        count = int(job.backbone.facts()["parameters"])
    except (UserError, RunError) as error:
        reporter.warn(f"{name}: {error}")
        return Ranked(name, None, None, None, time.perf_counter() - started, str(error))
    return Ranked(name, scores, cached.width, count, time.perf_counter() - started, None)


def _record(e: Experiment, ranked: list[Ranked], directory: Path) -> None:
    import yaml

    rows = [[*_cells(one)] for one in ranked]
    write_csv(directory / "rank.csv", COLUMNS, rows)
    atomic_write_text(directory / rundir.CONFIG, yaml.safe_dump(to_dict(e), sort_keys=False, allow_unicode=True))
    scored = [one for one in ranked if one.scores is not None]
    measures = {
        "LogME": [one.scores.log_me for one in scored if one.scores],
        "probe": [one.scores.probe_accuracy for one in scored if one.scores],
        "20-NN": [one.scores.knn_accuracy for one in scored if one.scores],
        "class means": [one.scores.ncm_accuracy for one in scored if one.scores],
    }
    plots.ranking([one.model for one in scored], measures, directory / "rank.png")


def _cells(one: Ranked) -> tuple[str | float | None, ...]:
    scores = tuple(one.scores) if one.scores else (None,) * len(BackboneScores._fields)
    return (one.model, *scores, one.feature_width, one.parameters, round(one.seconds, 2), one.error)


def _show(e: Experiment, ranked: list[Ranked], reporter: Reporter) -> None:
    columns = ["model", "LogME", "H-score", "20-NN", "class means", "probe", "width", "parameters", "seconds"]
    rows = []
    for one in ranked:
        s = one.scores
        if s is None:
            rows.append([one.model, "failed", *[""] * (len(columns) - 2)])
            continue
        accuracies = [f"{100 * value:.2f} %" for value in (s.knn_accuracy, s.ncm_accuracy, s.probe_accuracy)]
        size = [f"{one.feature_width}", f"{one.parameters:,}", f"{one.seconds:.1f}"]
        rows.append([one.model, f"{s.log_me:.4f}", f"{s.shrunk_h_score:.3f}", *accuracies, *size])
    reporter.table(f"backbones for {e.dataset.name}, by LogME; accuracies are on validation", columns, rows)
