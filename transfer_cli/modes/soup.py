"""mode=soup: weights of a sweep's finetuned runs averaged, in several ways, the best on validation kept as a run."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from transfer_cli import rundir
from transfer_cli.cache.place import cache_folder
from transfer_cli.command.overrides import Overrides
from transfer_cli.config.schema import Experiment
from transfer_cli.engine.stop import Stop
from transfer_cli.errors import EXIT_OK, UserError, counted
from transfer_cli.methods import soups
from transfer_cli.methods.comparison import shown_score
from transfer_cli.methods.scores import Scores, rank
from transfer_cli.methods.soups import Weights
from transfer_cli.models.published import SeenWeights
from transfer_cli.records.terminal import Reporter
from transfer_cli.runs.calibration import weights_as_trained
from transfer_cli.runs.machine import known_folder
from transfer_cli.runs.pretrained import find_weights
from transfer_cli.runs.reports.run_report import leave_report, leave_whole
from transfer_cli.runs.saved_model import load_trained
from transfer_cli.runs.soup.keeping import is_done, keep
from transfer_cli.runs.soup.members import Member, best_first, members_of
from transfer_cli.runs.soup.tasting import Tasting, together


@dataclass(frozen=True)
class Recipe:
    """One way to one model, and what it scores on validation."""

    name: str
    of: list[str]
    """The runs in it."""
    weights: Weights
    val: Scores


def run(experiment: Experiment, overrides: Overrides) -> int:
    """Compare averages of the runs in the folder `sweep`; write the best as a run directory with `soup.json`."""
    folder = Path(*experiment.sweep.folders)
    members = best_first(members_of(folder))
    target = rundir.planned(replace(experiment, name=experiment.name or rundir.stamped("soup", folder.name)))
    reporter, stop, goes_on = Reporter(quiet=experiment.quiet), Stop(), experiment.resume == "auto"
    if goes_on and is_done(target, folder, [one.run.name for one in members]):
        reporter.say(f"{target} is done already; nothing is left to do")
        leave_whole(target, reporter.warn)
        reporter.result(target)
        return EXIT_OK
    best = members[0]
    with stop:
        asked = replace(
            best.experiment, cache_dir=experiment.cache_dir, trainer=replace(experiment.trainer, precision="auto")
        )
        tasting = Tasting.of(best, load_trained(best.run, asked), reporter, stop)
        if not tasting.has("val"):
            raise UserError(f"sweep={folder}: its runs have no validation images, which choose the soup.")
        weights = {one.run.name: weights_as_trained(one.run, tasting.trained.network) for one in members}
        recipes = _recipes(members, weights, tasting, reporter)
        chosen = max(recipes, key=lambda one: rank(one.val, tasting.task.metric))
        ensemble = {
            split: tasting.scores_of(together([tasting.outputs(one, split) for one in weights.values()]), split)
            for split in ("val", "test")
            if tasting.has(split)
        }
        # Test chooses nothing: it is looked at once all is decided.
        test = {one.name: tasting.scores(one.weights, "test") if tasting.has("test") else None for one in recipes}
        with rundir.claim(target, named=experiment.name is not None, may_exist=goes_on) as directory:
            keep(directory, tasting, chosen.weights, chosen.val, _about(folder, chosen, recipes, test, ensemble))
            leave_report(directory, lambda: tasting.decoded.images, reporter.warn)
    _show(tasting.task.metric, recipes, test, ensemble, chosen, len(members), reporter)
    reporter.result(directory)
    return EXIT_OK


def _recipes(
    members: list[Member], weights: dict[str, dict[str, Any]], tasting: Tasting, reporter: Reporter
) -> list[Recipe]:
    """The best run alone first, so that among equal ones the plainest is chosen."""
    names, metric = tuple(one.run.name for one in members), tasting.task.metric

    def mixed(of: Sequence[str]) -> Weights:
        return soups.average([weights[name] for name in of])

    @functools.cache
    def val(of: tuple[str, ...]) -> Scores:
        return tasting.scores(mixed(of), "val")

    taken = soups.greedy(names, lambda of: rank(val(of), metric))
    averages = {"best run": names[:1], "greedy soup": taken, "uniform soup": names}
    found = [Recipe(name, [*of], mixed(of), val(of)) for name, of in averages.items()]
    start = _start(members[0], tasting, reporter)
    if start is not None:
        found.append(max(_between(start, found[0], tasting), key=lambda one: rank(one.val, metric)))
    return found


def _between(start: Weights, best: Recipe, tasting: Tasting) -> Iterator[Recipe]:
    """WiSE-FT: the best run part of the way back to where it started."""
    for share in soups.STEPS:
        mixed = soups.interpolated(start, best.weights, share)
        yield Recipe(f"wise_ft {share:g}", best.of, mixed, tasting.scores(mixed, "val"))


def _start(best: Member, tasting: Tasting, reporter: Reporter) -> Weights | None:
    """The weights that the best run started from, but for its head; None where these were random."""
    if best.experiment.model.weights == "none":
        return None
    seen = SeenWeights(known_folder(cache_folder(best.experiment.cache_dir)))
    network, _ = find_weights(best.experiment, seen, reporter).build(len(best.about.classes), best.experiment.seed)
    heads = tuple(f"{path}." for path in tasting.trained.network.stages[-1].modules)
    return {name: tensor for name, tensor in network.module.state_dict().items() if not name.startswith(heads)}


def _about(
    folder: Path, chosen: Recipe, recipes: list[Recipe], test: dict[str, Any], ensemble: dict[str, Any]
) -> dict[str, Any]:
    """What was compared, for `soup.json`."""
    rows = [{"recipe": one.name, "runs": one.of, "val": one.val, "test": test[one.name]} for one in recipes]
    return {"of": str(folder), "chosen": chosen.name, "recipes": rows, "ensemble": ensemble}


def _show(
    metric: str,
    recipes: list[Recipe],
    test: dict[str, Any],
    ensemble: dict[str, Any],
    chosen: Recipe,
    members: int,
    reporter: Reporter,
) -> None:
    def cell(scores: Scores | None) -> str:
        return shown_score(None if scores is None else scores[metric], metric)

    rows = [[one.name, str(len(one.of)), cell(one.val), cell(test[one.name])] for one in recipes]
    rows.append([f"ensemble of {members} models", str(members), cell(ensemble["val"]), cell(ensemble.get("test"))])
    reporter.table(f"soups of {counted(members, 'run')}, by {metric}", ["recipe", "runs", "val", "test"], rows)
    reporter.say(f"kept      {chosen.name}, the best of one model on validation")
