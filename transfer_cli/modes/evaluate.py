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
from transfer_cli.data.batches import Batch
from transfer_cli.data.describe import changed_since
from transfer_cli.data.reading.image_set import ImageSet
from transfer_cli.data.same_images import check_classes
from transfer_cli.data.sources import load as sources
from transfer_cli.data.store import formats
from transfer_cli.data.store.formats import PixelRequest
from transfer_cli.data.store.open import DecodedSet
from transfer_cli.engine.evaluation import evaluate
from transfer_cli.engine.stop import Stop
from transfer_cli.engine.task import Classification
from transfer_cli.errors import EXIT_OK, UserError, counted, nearest
from transfer_cli.files import write_json
from transfer_cli.methods.scores import Scores
from transfer_cli.records.terminal import Reporter
from transfer_cli.rundir import saved_experiment
from transfer_cli.runs.materials import open_pixels
from transfer_cli.runs.saved_model import Trained, load_trained, warn_of_unread


def run(experiment: Experiment, overrides: Overrides) -> int:
    """Print the scores of one split and write them to `evaluation.json` in the run directory."""
    assert isinstance(experiment.run, str)
    directory, split = Path(experiment.run), experiment.split
    saved = saved_experiment(directory)
    dataset = _dataset(experiment.dataset, saved.dataset, overrides)
    seed = experiment.seed if overrides.names("seed") else saved.seed
    trained = load_trained(directory, experiment)
    dataset = _of_channels(dataset, trained, overrides)
    images = sources.load(dataset, seed)
    if not images.classes:
        raise UserError(f"run={directory}: its images have no labels to compare with; name a data set that has.")
    if not overrides.names("dataset") and dataset == saved.dataset:
        check_classes(directory, images)
    if len(images.splits[split]) == 0:
        raise UserError(f"split={split}: {images.name} has no such images.")
    reporter, stop = Reporter(quiet=experiment.quiet), Stop()
    warn_of_unread(overrides, reporter)
    # Each image is used once: nothing is gained by holding them all.
    store = dataset.store if dataset.store in ("disk", "stream") else "auto"
    e = replace(experiment, dataset=replace(dataset, store=store), seed=seed)
    cache = open_cache(e.cache_dir, e.cache_size, reporter.warn)
    requests = [PixelRequest(formats.evaluation(trained.about.preprocessing), images.splits[split])]
    decoded = open_pixels(e, images, requests, cache, reporter, stop)
    _warn_of_other_images(directory, saved, e, decoded, reporter)
    values = _scores(e, trained, decoded, saved.trainer.metric, stop)
    count = len(decoded.images.splits[split])
    report = {"dataset": asdict(dataset), "split": split, "images": count, **values}
    write_json(directory / "evaluation.json", report)
    title = f"{directory.name} on {images.name}, split {split}, {counted(count, 'image')}"
    reporter.table(title, ["metric", "value"], [[name, repr(value)] for name, value in values.items()])
    reporter.result(directory)
    return EXIT_OK


def _scores(e: Experiment, trained: Trained, decoded: DecodedSet, metric: str, stop: Stop) -> Scores:
    images = decoded.images
    if len(images.splits[e.split]) == 0:
        raise UserError(f"split={e.split}: none of the images of {images.name} can be decoded.")
    relabelled = _relabelled(trained.batches(decoded, e.split, e), _as_trained(images, trained.about.classes))
    task = Classification(trained.about.classes, metric)
    values = evaluate(trained.network, relabelled, task, trained.compute, trained.to_device, stop)
    assert values is not None
    return values


def _warn_of_other_images(
    directory: Path, saved: Experiment, e: Experiment, decoded: DecodedSet, reporter: Reporter
) -> None:
    """Warn where a split is not what it was in training, so that the model may have been trained on its images."""
    images, indices = decoded.images, decoded.images.splits[e.split]
    if e.dataset == replace(saved.dataset, store=e.dataset.store) and e.seed == saved.seed:
        now = {e.split: decoded.store.fingerprint(indices)} if images.may_change else None
        if changed_since(directory, {"fingerprints": now}):
            reporter.warn(
                f"split {e.split} holds other images than when the model was trained; where splits were cut from a "
                "folder that has changed since, some of them may have been trained on"
            )
        return
    if (e.dataset.name, e.dataset.path, e.dataset.hub) != (saved.dataset.name, saved.dataset.path, saved.dataset.hub):
        return
    before = sources.load(saved.dataset, saved.seed)
    learnt = {before.ids[index] for index in before.splits["train"]}
    seen = sum(images.ids[index] in learnt for index in indices)
    if seen and e.split != "train":
        reporter.warn(
            f"{seen:,} of the {len(indices):,} images of split {e.split} were trained on: the words of the command cut "
            "the splits of this data set otherwise than the run did"
        )


def _dataset(composed: Dataset, saved: Dataset, overrides: Overrides) -> Dataset:
    """The run's own data set; another one where the command names it, or single keys of its own changed."""
    if overrides.names("dataset"):
        return composed
    named = [field.name for field in fields(Dataset) if overrides.names(f"dataset.{field.name}")]
    return replace(saved, **{key: getattr(composed, key) for key in named})


def _of_channels(dataset: Dataset, trained: Trained, overrides: Overrides) -> Dataset:
    """The data set read with the channels that the model takes. Raises UserError where the command says others."""
    if dataset.channels == trained.about.channels:
        return dataset
    said = overrides.of("dataset.channels")
    if said:
        own = "null" if trained.about.channels is None else trained.about.channels
        raise UserError(f"{said[0]}: the model was trained with dataset.channels={own}; leave it out.")
    return replace(dataset, channels=trained.about.channels)


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
