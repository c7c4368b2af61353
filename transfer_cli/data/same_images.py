"""A run belongs to its images: which classes they have, in which order, and which split each is in.

A saved state, a trained teacher or a finished job of a sweep says nothing of images that have been renamed since.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from transfer_cli.config.distill import Distill
from transfer_cli.config.schema import Experiment
from transfer_cli.data import joined
from transfer_cli.data.describe import (
    contents,
    describe,
    listed,
    moved_classes,
    other_classes,
    other_members,
    read_description,
)
from transfer_cli.data.reading.image_set import ImageSet
from transfer_cli.data.sources import load as sources
from transfer_cli.data.store.open import DecodedSet
from transfer_cli.errors import UserError

MOST_NAMED = 5


def check_listed(*runs: tuple[Path, Experiment]) -> None:
    """Raises UserError, naming what is different, where a data set is not what the run in a directory saw.

    Decodes nothing, so that it can come before everything else.
    """
    known: dict[tuple[str, int, bool], ImageSet] = {}
    for directory, e in runs:
        before = read_description(directory)
        if before is None:
            continue
        key = (repr(e.dataset), e.seed, isinstance(e.strategy, Distill))
        if key not in known:
            known[key] = _images_of(e)
        images = _without(known[key], before)
        if not images.classes:
            before, images = _training_alone(before, images)
        now = listed(images)
        _refuse(directory, other_classes(before, now) or other_members(before, now))


def check_decoded(directory: Path, decoded: DecodedSet) -> None:
    """Raises UserError where what a run is about to train on is not what the run in `directory` saw."""
    before = read_description(directory)
    if before is None:
        return
    now = describe(decoded)
    moved = moved_classes(before, now["contents"] or {})
    _refuse(directory, other_classes(before, now) or moved or other_members(before, now))


def check_classes(directory: Path, images: ImageSet) -> None:
    """Raises UserError where the classes of a run's own data set are not those that its network learnt.

    In another order they are: an evaluation matches them by their names.
    """
    before, now = read_description(directory) or {}, listed(images)
    found = other_classes(before, now)
    if found and {*before["classes"]} != {*now["classes"]}:
        raise UserError(
            f"run={directory}: the classes of its data set are not those that it was trained on: {'; '.join(found)}. "
            "Put them back, or name the data set (dataset=... dataset.path=...) to have classes matched by their names."
        )


def check_teachers(runs: str | Sequence[str], decoded: DecodedSet) -> None:
    """Raises UserError where a teacher's run has learnt images under other classes' names than they have now."""
    for run in (runs,) if isinstance(runs, str) else runs:
        before = read_description(Path(run))
        if before is not None and decoded.images.may_change:
            _refuse(Path(run), moved_classes(before, contents(decoded)))


def _refuse(directory: Path, found: Sequence[str]) -> None:
    if found:
        more = f"; and {len(found) - MOST_NAMED} more" if len(found) > MOST_NAMED else ""
        raise UserError(
            f"{directory}: the data set is not what this run was made with: {'; '.join(found[:MOST_NAMED])}{more}. Put "
            "it back as it was to go on; for the images as they are now choose another name, or remove this folder."
        )


def _training_alone(before: dict[str, Any], images: ImageSet) -> tuple[dict[str, Any], ImageSet]:
    """Of images without labels: a student of them takes its teacher's classes, and what only evaluates is left out."""
    return {**before, "classes": [], "images_of_class": None}, replace(images, splits={"train": images.splits["train"]})


def _images_of(e: Experiment) -> ImageSet:
    """As a training lists them."""
    images = sources.load(e.dataset, e.seed)
    more = e.dataset.unlabelled if isinstance(e.strategy, Distill) else None
    return images if more is None else joined.join(images, more)


def _without(images: ImageSet, before: dict[str, Any]) -> ImageSet:
    """The images but for those that could not be decoded then."""
    skipped = {one.get("file") for one in before.get("skipped") or [] if isinstance(one, dict)}
    if not skipped:
        return images
    kept = np.array([name not in skipped for name in images.ids], dtype=bool)
    return replace(images, splits={split: indices[kept[indices]] for split, indices in images.splits.items()})
