"""mode=evaluate: a trained model on a split of its own data set, or of another with the same classes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, fields, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from transfer_cli.cache.place import open_cache
from transfer_cli.command.overrides import Overrides
from transfer_cli.config.schema import Dataset, Experiment
from transfer_cli.data.batches import Batch, OrderedBatches, Samples
from transfer_cli.data.describe import changed_since
from transfer_cli.data.reading.image_set import ImageSet
from transfer_cli.data.sources import load as sources
from transfer_cli.data.store import formats
from transfer_cli.data.store.formats import PixelRequest
from transfer_cli.engine.evaluation import BATCH_SIZE, evaluate
from transfer_cli.engine.stop import Stop
from transfer_cli.engine.task import Classification
from transfer_cli.errors import EXIT_OK, UserError, nearest
from transfer_cli.files import write_json
from transfer_cli.records.terminal import Reporter
from transfer_cli.rundir import saved_experiment
from transfer_cli.runs.materials import open_pixels, worker_count
from transfer_cli.runs.saved_model import load_trained, warn_of_unread


def run(experiment: Experiment, overrides: Overrides) -> int:
    """Print the scores of one split and write them to `evaluation.json` in the run directory."""
    assert experiment.run is not None
    directory = Path(experiment.run)
    saved = saved_experiment(directory)
    dataset = _dataset(experiment.dataset, saved.dataset, overrides)
    seed = experiment.seed if overrides.names("seed") else saved.seed
    trained = load_trained(directory, experiment)
    images = sources.load(dataset, seed)
    if not images.classes:
        raise UserError(f"run={directory}: its images have no labels to compare with; name a data set that has.")
    indices = images.splits[experiment.split]
    if len(indices) == 0:
        raise UserError(f"split={experiment.split}: {images.name} has no such images.")
    reporter = Reporter(quiet=experiment.quiet)
    warn_of_unread(overrides, reporter)
    # Each image is used once: nothing is gained by holding them all.
    store = dataset.store if dataset.store in ("disk", "stream") else "auto"
    experiment = replace(experiment, dataset=replace(dataset, store=store))
    cache, stop = open_cache(experiment.cache_dir, experiment.cache_size), Stop()
    requests = [PixelRequest(formats.evaluation(trained.preprocessing), indices)]
    opened = open_pixels(experiment, images, requests, cache, reporter, stop)
    images, indices = opened.images, opened.images.splits[experiment.split]
    now = {experiment.split: opened.store.fingerprint(indices)} if images.may_change else None
    own = dataset == replace(saved.dataset, store=dataset.store) and seed == saved.seed
    if own and changed_since(directory / "dataset.json", {"fingerprints": now}):
        reporter.warn(
            f"split {experiment.split} holds other images than when the model was trained; where splits were cut from "
            "a folder that has changed since, some of them may have been trained on"
        )
    if len(indices) == 0:
        raise UserError(f"split={experiment.split}: none of the images of {images.name} can be decoded.")
    batches = OrderedBatches(
        Samples(images, opened.store, trained.preprocessing, experiment.augment, seed),
        indices,
        batch_size=BATCH_SIZE[trained.compute.device.type],
        workers=worker_count(experiment, opened.store),
    )
    relabelled = _relabelled(batches, _as_trained(images, trained.classes))
    task = Classification(trained.classes, saved.trainer.metric)
    values = evaluate(trained.network, relabelled, task, trained.compute, trained.to_device, stop)
    assert values is not None
    report = {"dataset": asdict(dataset), "split": experiment.split, "images": len(indices), **values}
    write_json(directory / "evaluation.json", report)
    title = f"{directory.name} on {images.name}, split {experiment.split}, {len(indices):,} images"
    reporter.table(title, ["metric", "value"], [[name, repr(value)] for name, value in values.items()])
    reporter.result(directory)
    return EXIT_OK


def _dataset(composed: Dataset, saved: Dataset, overrides: Overrides) -> Dataset:
    """The run's own data set; another one where the command names it, or single keys of its own changed."""
    if overrides.names("dataset"):
        return composed
    named = [field.name for field in fields(Dataset) if overrides.names(f"dataset.{field.name}")]
    return replace(saved, **{key: getattr(composed, key) for key in named})


def _relabelled(batches: Iterable[Batch], positions: NDArray[np.int64]) -> Iterator[Batch]:
    """Labels of the data set as those of the model; -1, no label, stays."""
    table = torch.from_numpy(np.append(positions, -1))
    for batch in batches:
        yield replace(batch, labels=table[batch.labels])


def _as_trained(images: ImageSet, classes: tuple[str, ...]) -> NDArray[np.int64]:
    """For each class of the data set, its index in the model. Raises UserError for a class the model does not know."""
    positions = {name: index for index, name in enumerate(classes)}
    strangers = [name for name in images.classes if name not in positions]
    if strangers:
        near = nearest(strangers[0], classes)
        hint = f" Nearest of the model's: {', '.join(near)}." if near else ""
        raise UserError(f"dataset: the model was not trained on class {', '.join(strangers[:5])}.{hint}")
    return np.array([positions[name] for name in images.classes], dtype=np.int64)
