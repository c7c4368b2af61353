"""mode=evaluate: trained models on a split of their own data set, or of another with the same classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from transfer_cli.cache.place import open_cache
from transfer_cli.command.overrides import Overrides
from transfer_cli.config.schema import Experiment
from transfer_cli.data.reading.image_set import ImageSet
from transfer_cli.data.same_images import check_classes
from transfer_cli.data.sources import load as sources
from transfer_cli.engine.stop import Stop
from transfer_cli.errors import EXIT_OK, RunError, UserError, counted
from transfer_cli.files import write_json
from transfer_cli.methods.corruptions import SEVERITIES
from transfer_cli.records import plots
from transfer_cli.records.pages.render import percent, score
from transfer_cli.records.terminal import Reporter
from transfer_cli.rundir import saved_experiment
from transfer_cli.runs.evaluating.evaluated import Evaluated, evaluated
from transfer_cli.runs.evaluating.images import as_trained, asked_dataset, used_once, with_channels
from transfer_cli.runs.saved_model import Trained, load_trained, warn_of_unread

NAME = "evaluation.json"


def run(experiment: Experiment, overrides: Overrides) -> int:
    """Print the scores of each model and write them to `evaluation.json` in its directory; the first against others."""
    reporter, stop = Reporter(quiet=experiment.quiet), Stop()
    directories = [Path(one) for one in experiment.runs]
    warn_of_unread(overrides, reporter)
    models = [load_trained(directory, experiment) for directory in directories]
    e, images = _images(experiment, directories[0], models[0], overrides)
    for directory, trained in zip(directories, models, strict=True):
        _check(directory, trained, images, e)
    cache = open_cache(e.cache_dir, e.cache_size, reporter.warn)
    with stop:
        found = [
            evaluated(directory, trained, images, e, cache, reporter, stop)
            for directory, trained in zip(directories, models, strict=True)
        ]
        reports = [_report(one, found, reporter, stop) for one in found]
    # Shown first: a run may be another's, who lets nobody write in it.
    _show(found, reports, reporter)
    for one, report in zip(found, reports, strict=True):
        _keep(one.directory, report)
    for directory in directories:
        reporter.result(directory)
    return EXIT_OK


def _images(
    experiment: Experiment, directory: Path, trained: Trained, overrides: Overrides
) -> tuple[Experiment, ImageSet]:
    """What the models are evaluated on: the images of the first run, but for what the command says otherwise."""
    saved = saved_experiment(directory)
    dataset = with_channels(asked_dataset(experiment.dataset, saved.dataset, overrides), trained.about, overrides)
    seed = experiment.seed if overrides.names("seed") else saved.seed
    images = sources.load(dataset, seed)
    if not images.classes:
        raise UserError(f"run={directory}: its images have no labels to compare with; name a data set that has.")
    if not overrides.names("dataset") and dataset == saved.dataset:
        check_classes(directory, images)
    if len(images.splits[experiment.split]) == 0:
        raise UserError(f"split={experiment.split}: {images.name} has no such images.")
    return replace(experiment, dataset=used_once(dataset), seed=seed), images


def _check(directory: Path, trained: Trained, images: ImageSet, e: Experiment) -> None:
    """Raises UserError where a model cannot be shown these images."""
    try:
        as_trained(images, trained.about.classes)
    except UserError as error:
        raise UserError(f"run={directory}: {error}") from error
    if trained.about.channels != e.dataset.channels:
        raise UserError(f"run={directory}: takes images of other channels than the first run; evaluate it alone.")
    if e.evaluate.corruptions and trained.about.preprocessing.channels != 3:
        raise UserError("evaluate.corruptions=true: corruptions are of RGB pictures, and the model takes others.")


def _report(one: Evaluated, found: Sequence[Evaluated], reporter: Reporter, stop: Stop) -> dict[str, Any]:
    report = {
        "dataset": asdict(one.e.dataset),
        "split": one.e.split,
        "images": len(one.labels),
        **one.scores(),
        "intervals": one.intervals(),
        "classes": one.by_class(),
    }
    others = [other for other in found if other is not one]
    if others:
        report["against"] = {str(other.directory): one.against(other) for other in others}
    if one.e.evaluate.corruptions:

        def say(name: str, severity: int) -> None:
            reporter.say(f"corrupted {name} {severity} of {len(SEVERITIES)}")

        report["corruptions"] = one.corrupted(say, stop)
    return report


def _keep(directory: Path, report: dict[str, Any]) -> None:
    """The scores as JSON, those under corruptions also as a picture. Raises RunError where they cannot be written."""
    try:
        write_json(directory / NAME, report)
        if "corruptions" in report:
            (directory / "plots").mkdir(exist_ok=True)
            plots.corruptions(report["corruptions"], report["accuracy"], directory / "plots" / "corruptions.png")
    except OSError as error:
        raise RunError(
            f"{directory / NAME}: what is shown cannot be kept ({error.strerror}); to keep it, evaluate a copy of the "
            "run where you may write."
        ) from error


def _show(found: Sequence[Evaluated], reports: Sequence[dict[str, Any]], reporter: Reporter) -> None:
    for one, report in zip(found, reports, strict=True):
        scores = {name: value for name, value in report.items() if isinstance(value, float)}
        intervals = report["intervals"]
        rows = [
            [name, score(value, name), _interval(intervals.get(name), name), repr(value)]
            for name, value in scores.items()
        ]
        images = one.decoded.images
        title = f"{one.name} on {images.name}, split {one.e.split}, {counted(report['images'], 'image')}"
        reporter.table(title, ["metric", "value", "95 % interval", "to the last digit"], rows)
        if "corruptions" in report:
            cells = [[name, *map(percent, values)] for name, values in report["corruptions"].items()]
            reporter.table("accuracy under corruptions, by severity", ["", *map(str, SEVERITIES)], cells)
    for other in found[1:]:
        result = reports[0]["against"][str(other.directory)]
        low, high = result["interval"]
        reporter.say(
            f"{found[0].name} against {other.name}: {100 * result['difference']:+.2f} points of "
            f"accuracy ({100 * low:+.2f} to {100 * high:+.2f}); right where the other is wrong in "
            f"{result['only_first']:,} images, the other way round in {result['only_second']:,}; p = "
            f"{result['p']:.2g} ({'a difference' if result['p'] < 0.05 else 'may be chance'})"
        )


def _interval(found: tuple[float, float] | None, name: str) -> str:
    return "" if found is None else " to ".join(score(end, name) for end in found)
