"""The end of a training: best weights, one look at the test split, and what the recorders are told of it."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from transfer_cli.config.parse import config_hash
from transfer_cli.engine.devices import device as devices
from transfer_cli.engine.stop import Stop
from transfer_cli.methods.scores import Scores
from transfer_cli.records.events import Predictions, Recorders, RunEnd
from transfer_cli.runs.clock import Clock
from transfer_cli.runs.materials import Materials

Outputs = tuple[NDArray[np.float32], NDArray[np.int64]]
"""Outputs of the network [N, width] and labels [N, ...]."""
STOPPED = "after the last epoch, state saved; the same command with resume=auto finishes the run"


@dataclass(frozen=True)
class Outcome:
    """What a training leaves, whatever trained: its best weights are chosen, nothing has seen the test split."""

    best_epoch: int
    val: Scores | None
    step: int
    precision: str
    save_model: Callable[[Path], None]
    """Writes the trained model into the run directory, in whichever thread."""
    test_outputs: Callable[[], Outputs | None]
    """Of the test split; None if it has no images."""
    parameters: tuple[int, int]
    """All, and those that train."""
    weights: tuple[str, str | None]
    """What it started from: a label and the file's sha256."""
    train_seconds: float
    images: int
    others_seconds: float = 0.0
    """Of training for other jobs of the sweep, in the same pass."""
    more: dict[str, Any] = field(default_factory=dict)
    """Entries of the summary that only this kind of training has."""


def finish(
    outcome: Outcome, m: Materials, directory: Path, recorders: Recorders, stop: Stop, clock: Clock
) -> dict[str, Any]:
    """Evaluate the model on test, save it while pictures are drawn, tell the recorders; returns the summary."""
    with clock.part("test"):
        found = outcome.test_outputs()
    stop.check(STOPPED)
    predictions, test = None, None
    if found is not None:
        outputs, labels = found
        test = m.task.scores(outputs, labels)
        ids = [m.images.ids[index] for index in m.images.splits["test"]]
        predictions = Predictions(ids, outputs, labels, m.task)
    summary = {**_summary(outcome, m, test), "seconds": clock.parts(outcome.train_seconds, outcome.others_seconds)}
    end = RunEnd(directory, summary, outcome.step, predictions)
    # Writing 100 MB and drawing take as long as each other, and one of them waits for the disk.
    with ThreadPoolExecutor(1, "model") as beside:
        saved = beside.submit(outcome.save_model, directory)
        recorders.tested(end)
    saved.result()
    recorders.run_ends(end)
    return summary


def known_before(m: Materials, precision: str) -> dict[str, Any]:
    """What a summary can say before anything is trained."""
    e = m.experiment
    return {
        "strategy": e.strategy.name,
        "model": e.model.name,
        "dataset": e.dataset.name,
        "seed": e.seed,
        "epochs": e.trainer.epochs,
        "metric": e.trainer.metric,
        "device": devices.device_name(m.device),
        "precision": precision,
        "config_hash": config_hash(e),
    }


def _summary(outcome: Outcome, m: Materials, test: Scores | None) -> dict[str, Any]:
    cache = m.machine.cache
    return {
        "status": "completed",
        **known_before(m, outcome.precision),
        "best_epoch": outcome.best_epoch,
        "val": outcome.val,
        "test": test,
        "parameters": dict(zip(("total", "trainable"), outcome.parameters, strict=True)),
        "train_seconds": outcome.train_seconds,
        "images_per_second": outcome.images / max(outcome.train_seconds, 1e-9),
        "peak_memory_bytes": devices.peak_memory_bytes(m.device),
        "weights": outcome.weights[0],
        "weights_sha256": outcome.weights[1],
        "weights_license": m.pretrained.source.license,
        "weights_base": m.pretrained.source.base,
        "cache": {"hits": cache.hits, "misses": cache.misses},
        "images_decoded": m.pixels.store.images_decoded,
        **outcome.more,
    }
