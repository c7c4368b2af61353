"""Which runs of a folder can be averaged: finetuned networks of one architecture on the same images."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from transfer_cli.config.extract import Extract
from transfer_cli.config.schema import Experiment
from transfer_cli.data.describe import read_description
from transfer_cli.errors import UserError, counted
from transfer_cli.rundir import SUMMARY, completed_summary, saved_experiment
from transfer_cli.runs.reports.reading import number_in
from transfer_cli.runs.saved_model import Description, describe


@dataclass(frozen=True)
class Member:
    """A finetuned run."""

    run: Path
    experiment: Experiment
    about: Description
    val: dict[str, float]
    """Its loss on validation, and what its training chose by."""


def members_of(folder: Path) -> list[Member]:
    """The completed finetuned runs right in a folder.

    Raises UserError where there are fewer than two, or where they differ in what cannot be averaged: architecture,
    classes, preprocessing, head, or the images that each split holds.
    """
    found = [one for path in sorted(folder.iterdir()) if (one := _member(path)) is not None]
    if len(found) < 2:
        runs = counted(len(found), "completed finetuned run")
        raise UserError(f"sweep={folder}: has {runs}; a soup needs two or more.")
    first, *others = found
    theirs, images = _kind(first), _images(first)
    for one in others:
        pair, own = f"sweep={folder}: {one.run.name} and {first.run.name}", _kind(one)
        differing = [what for what in own if own[what] != theirs[what]]
        if differing:
            raise UserError(f"{pair} differ in {', '.join(differing)}; a soup is of like runs.")
        if _images(one) != images:
            raise UserError(
                f"{pair} split their images otherwise, so each has trained on what validates the other. Sweep over "
                "other keys than seed and dataset; dataset.split_seed=0 gives all seeds the same images."
            )
    return found


def _kind(one: Member) -> dict[str, Any]:
    """What runs that are averaged have in common."""
    about = one.about
    of_model = {"architecture": about.name, "classes": about.classes, "head": about.head}
    return {**of_model, "preprocessing": about.preprocessing, "trainer.metric": one.experiment.trainer.metric}


def _member(path: Path) -> Member | None:
    summary = completed_summary(path) if (path / SUMMARY).is_file() else None
    if summary is None or not summary.get("val"):
        return None
    experiment = saved_experiment(path)
    if isinstance(experiment.strategy, Extract):
        return None
    val: dict[str, float] = {}
    for name in (experiment.trainer.metric, "loss"):
        value = number_in(summary["val"], name)
        if value is None:
            raise UserError(f"sweep={path.parent}: {path.name}: {SUMMARY} has no {name} on validation.")
        val[name] = value
    return Member(path, experiment, describe(path, "sweep"), val)


def _images(one: Member) -> str:
    """What tells whose images are in which split: what they hold, where the run says so, else what chose them."""
    description = read_description(one.run) or {}
    said: list[Any] = [description.get(key) for key in ("images_of_class", "names", "fingerprints")]
    if not description.get("fingerprints"):
        dataset = one.experiment.dataset
        said += [repr(replace(dataset, store="auto", split_seed=None)), dataset.drawn_by(one.experiment.seed)]
    return json.dumps(said, sort_keys=True)


def best_first(members: Sequence[Member]) -> list[Member]:
    """By the score on validation that chose their best epochs."""
    from transfer_cli.methods.scores import rank

    return sorted(members, key=lambda one: rank(one.val, one.experiment.trainer.metric), reverse=True)
