"""A trained model's outputs for the images of a split, and all that is scored from them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from transfer_cli.cache.entries import Cache
from transfer_cli.config.schema import Experiment
from transfer_cli.data.batches import Batch
from transfer_cli.data.reading.image_set import ImageSet
from transfer_cli.data.store import formats
from transfer_cli.data.store.formats import PixelRequest
from transfer_cli.data.store.open import DecodedSet
from transfer_cli.engine.evaluation import BATCH_SIZE, predict
from transfer_cli.engine.stop import Stop
from transfer_cli.engine.task import Classification
from transfer_cli.errors import UserError
from transfer_cli.methods.corruptions import CORRUPTIONS, SEVERITIES
from transfer_cli.methods.intervals import mean_interval, paired, score_intervals
from transfer_cli.methods.scores import Scores, confusion, softmax
from transfer_cli.records.pages.predicted import by_class
from transfer_cli.records.terminal import Reporter
from transfer_cli.rundir import name_of, saved_experiment
from transfer_cli.runs.evaluating.images import as_trained, relabelled, warn_of_other_images
from transfer_cli.runs.materials import open_pixels
from transfer_cli.runs.saved_model import Trained

Outputs = tuple[NDArray[np.float32], NDArray[np.int64]]
"""Logits [N, K] and labels [N] as the model numbers them."""


@dataclass(frozen=True)
class Evaluated:
    """A model, the images that it was shown, and what it said of them."""

    directory: Path
    trained: Trained
    decoded: DecodedSet
    e: Experiment
    logits: NDArray[np.float32]
    labels: NDArray[np.int64]

    @property
    def name(self) -> str:
        """Of its run."""
        return name_of(self.directory)

    @property
    def right(self) -> NDArray[np.bool_]:
        """Of each image with a label."""
        known = self.labels >= 0
        found: NDArray[np.bool_] = self.logits[known].argmax(1) == self.labels[known]
        return found

    def scores(self) -> Scores:
        """Those of a run, as its summary has them, then AUROC and the Brier score."""
        device = self.trained.compute.device
        sums, size = Classification(self.trained.about.classes, "auroc").sums(device), BATCH_SIZE[device.type]
        # In the batches of an evaluation, so that sums are to the last digit what they were in the run.
        for start in range(0, len(self.labels), size):
            part = (torch.from_numpy(one[start : start + size]) for one in (self.logits, self.labels))
            sums.add(*(one.to(device) for one in part))
        return {**sums.scores(), "brier": float(self._brier().mean())}

    def intervals(self) -> dict[str, tuple[float, float]]:
        """95 % intervals of accuracy, macro F1, balanced accuracy, loss and the Brier score, where there is one."""
        seed = self.e.seed
        return {
            **score_intervals(self._confusion(), seed),
            "loss": mean_interval(self._losses(), seed),
            "brier": mean_interval(self._brier(), seed),
        }

    def by_class(self) -> list[dict[str, Any]]:
        """Images, recall, precision and F1 of each class; None where nothing of it is there."""
        rows = by_class(self._confusion(), self.trained.about.classes)
        return [
            {"class": row.name, **{key: getattr(row, key) for key in ("images", "recall", "precision", "f1")}}
            for row in rows
        ]

    def against(self, other: Evaluated) -> dict[str, Any]:
        """This model compared with another on the same images."""
        return asdict(paired(self.right, other.right))

    def corrupted(self, say: Callable[[str, int], None], stop: Stop) -> dict[str, list[float]]:
        """Accuracy under each corruption, by severity from 1 to 5."""
        found: dict[str, list[float]] = {}
        for name in CORRUPTIONS:
            for severity in SEVERITIES:
                say(name, severity)
                batches = _corrupt(_batches(self.trained, self.decoded, self.e), name, severity, self.e.seed)
                logits, labels = _predicted(self.trained, batches, stop)
                known = labels >= 0
                found.setdefault(name, []).append(float((logits[known].argmax(1) == labels[known]).mean()))
        return found

    def _confusion(self) -> NDArray[np.int64]:
        return confusion(self.labels, self.logits.argmax(1), len(self.trained.about.classes))

    def _losses(self) -> NDArray[np.float64]:
        known = self.labels >= 0
        rows = self.logits[known].astype(np.float64)
        rows -= rows.max(1, keepdims=True)
        losses: NDArray[np.float64] = np.log(np.exp(rows).sum(1)) - rows[np.arange(len(rows)), self.labels[known]]
        return losses

    def _brier(self) -> NDArray[np.float64]:
        """Squared distance of probabilities to the label ("Verification of forecasts", Brier 1950), of each image."""
        known = self.labels >= 0
        probabilities = softmax(self.logits[known])
        probabilities[np.arange(len(probabilities)), self.labels[known]] -= 1.0
        squares: NDArray[np.float64] = np.square(probabilities).sum(1)
        return squares


def evaluated(
    directory: Path, trained: Trained, images: ImageSet, e: Experiment, cache: Cache, reporter: Reporter, stop: Stop
) -> Evaluated:
    """Show a model the images of `e.split`. Raises UserError where none can be decoded, or for a class it lacks."""
    requests = [PixelRequest(formats.evaluation(trained.about.preprocessing), images.splits[e.split])]
    decoded = open_pixels(e, images, requests, cache, reporter, stop)
    if len(decoded.images.splits[e.split]) == 0:
        raise UserError(f"split={e.split}: none of the images of {images.name} can be decoded.")
    warn_of_other_images(directory, saved_experiment(directory), e, decoded, reporter)
    logits, labels = _predicted(trained, _batches(trained, decoded, e), stop)
    return Evaluated(directory, trained, decoded, e, logits, labels)


def _batches(trained: Trained, decoded: DecodedSet, e: Experiment) -> Iterator[Batch]:
    return relabelled(trained.batches(decoded, e.split, e), as_trained(decoded.images, trained.about.classes))


def _predicted(trained: Trained, batches: Iterator[Batch], stop: Stop) -> Outputs:
    found = predict(trained.network, batches, trained.compute, trained.to_device, stop)
    stop.check("while the model was evaluated; nothing was written")
    assert found is not None
    return found


def _corrupt(batches: Iterator[Batch], name: str, severity: int, seed: int) -> Iterator[Batch]:
    """Each image draws its own noise, whatever batch it is in."""
    for batch in batches:
        pixels = batch.inputs.permute(0, 2, 3, 1).numpy()
        changed = [
            CORRUPTIONS[name](np.ascontiguousarray(one), severity, np.random.default_rng((seed, severity, int(index))))
            for one, index in zip(pixels, batch.indices, strict=True)
        ]
        yield replace(batch, inputs=torch.from_numpy(np.stack(changed)).permute(0, 3, 1, 2))
