"""The images that a trained model is evaluated on: those of its run, or others with the same classes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from transfer_cli.command.overrides import Overrides
from transfer_cli.config.schema import Dataset, Experiment
from transfer_cli.data.batches import Batch
from transfer_cli.data.describe import changed_since
from transfer_cli.data.reading.image_set import ImageSet
from transfer_cli.data.sources import load as sources
from transfer_cli.data.store.open import DecodedSet
from transfer_cli.errors import UserError, nearest, one_line
from transfer_cli.records.terminal import Reporter
from transfer_cli.runs.saved_model import Description


def asked_dataset(composed: Dataset, saved: Dataset, overrides: Overrides) -> Dataset:
    """The run's own data set; another one where the command names it, or single keys of its own changed."""
    if overrides.names("dataset"):
        return composed
    named = [field.name for field in fields(Dataset) if overrides.names(f"dataset.{field.name}")]
    return replace(saved, **{key: getattr(composed, key) for key in named})


def used_once(dataset: Dataset) -> Dataset:
    """The data set where each image is looked at once, so that nothing is gained by holding them all."""
    return dataset if dataset.store in ("disk", "stream") else replace(dataset, store="auto")


def with_channels(dataset: Dataset, about: Description, overrides: Overrides) -> Dataset:
    """The data set read with the channels that the model takes. Raises UserError where the command says others."""
    if dataset.channels == about.channels:
        return dataset
    said = overrides.of("dataset.channels")
    if said:
        own = "null" if about.channels is None else about.channels
        raise UserError(f"{said[0]}: the model was trained with dataset.channels={own}; leave it out.")
    return replace(dataset, channels=about.channels)


def relabelled(batches: Iterable[Batch], positions: NDArray[np.int64]) -> Iterator[Batch]:
    """Labels of the data set as those of the model; -1, no label, stays."""
    table = torch.from_numpy(np.append(positions, -1))
    for batch in batches:
        yield replace(batch, labels=table[batch.labels])


def as_trained(images: ImageSet, classes: tuple[str, ...]) -> NDArray[np.int64]:
    """For each class of the data set, its index in the model. Raises UserError for a class the model does not know."""
    positions = {name: index for index, name in enumerate(classes)}
    strangers = [name for name in images.classes if name not in positions]
    if strangers:
        near = nearest(strangers[0], classes)
        hint = f" Nearest of the model's: {one_line(', '.join(near))}." if near else ""
        more = f" and {len(strangers) - 5:,} more" if len(strangers) > 5 else ""
        names = one_line(", ".join(strangers[:5])) + more
        raise UserError(f"dataset: the model was not trained on class {names}.{hint}")
    return np.array([positions[name] for name in images.classes], dtype=np.int64)


def warn_of_other_images(
    directory: Path, saved: Experiment, e: Experiment, decoded: DecodedSet, reporter: Reporter
) -> None:
    """Warn where a split is not what it was in training, so that the model may have been trained on its images."""
    images, indices = decoded.images, decoded.images.splits[e.split]
    if e.dataset == replace(saved.dataset, store=e.dataset.store) and e.seed == saved.seed:
        now = {e.split: decoded.store.fingerprint(indices)} if images.may_change else None
        if changed_since(directory, {"fingerprints": now}):
            reporter.warn(
                f"{directory}: split {e.split} holds other images than when the model was trained; where splits were "
                "cut from a folder that has changed since, some of them may have been trained on"
            )
        return
    if (e.dataset.name, e.dataset.path, e.dataset.hub) != (saved.dataset.name, saved.dataset.path, saved.dataset.hub):
        return
    before = sources.load(saved.dataset, saved.seed)
    learnt = {before.ids[index] for index in before.splits["train"]}
    seen = sum(images.ids[index] in learnt for index in indices)
    if seen and e.split != "train":
        reporter.warn(
            f"{directory}: {seen:,} of the {len(indices):,} images of split {e.split} were trained on: they are cut "
            "from this data set otherwise than the run did"
        )
