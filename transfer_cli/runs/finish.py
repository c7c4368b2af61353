"""The end of a training: best weights, one look at the test split, and the files that tell of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from transfer_cli.config.parse import config_hash
from transfer_cli.data.reading.image_set import ImageSet
from transfer_cli.engine import device as devices
from transfer_cli.engine.fit import Scores
from transfer_cli.errors import Stopped
from transfer_cli.records import plots
from transfer_cli.records.metrics import MetricsLog
from transfer_cli.records.metrics import read as read_metrics
from transfer_cli.records.predictions import write_predictions
from transfer_cli.records.scores import confusion, scores, softmax
from transfer_cli.records.summary import write_summary
from transfer_cli.records.terminal import Reporter
from transfer_cli.runs.materials import Materials

Labelled = tuple[NDArray[np.float32], NDArray[np.int64]]


@dataclass(frozen=True)
class Outcome:
    """What a training leaves, whatever trained: its best weights are chosen, nothing has seen the test split."""

    best_epoch: int
    val: Scores | None
    step: int
    log: MetricsLog
    precision: str
    save_model: Callable[[Path], None]
    """Writes the trained model into the run directory."""
    test_logits: Callable[[], Labelled | None]
    """Logits [N, K] and labels [N] of the test split; None if it has no images."""
    parameters: tuple[int, int]
    """All, and those that train."""
    weights: tuple[str, str | None]
    """What it started from: a label and the file's sha256."""
    train_seconds: float
    images: int
    more: dict[str, Any] = field(default_factory=dict)
    """Entries of the summary that only this kind of training has."""


def finish(
    outcome: Outcome, materials: Materials, directory: Path, reporter: Reporter, stop_code: Callable[[], int | None]
) -> dict[str, Any]:
    """Save the model, evaluate it on test, write the remaining files, summary last; returns the summary."""
    outcome.save_model(directory)
    result = outcome.test_logits()
    code = stop_code()
    if code is not None:
        raise Stopped(code, "after the last epoch, state saved; the same command with resume=auto finishes the run")
    test = None if result is None else _test(*result, outcome, materials.images, directory)
    events = read_metrics(directory / "metrics.jsonl")
    if events:
        plots.curves(events, _plot(directory, "curves"))
    summary = _summary(outcome, materials, test)
    write_summary(directory, **summary)
    _show(summary, reporter)
    return summary


def _test(
    logits: NDArray[np.float32], labels: NDArray[np.int64], outcome: Outcome, images: ImageSet, directory: Path
) -> Scores:
    test = scores(logits, labels)
    outcome.log.write(step=outcome.step, epoch=outcome.best_epoch, split="test", **test)
    outcome.log.flush()
    ids = [images.ids[index] for index in images.splits["test"]]
    write_predictions(directory / "predictions.csv", ids, labels, images.classes, softmax(logits))
    matrix = confusion(labels, logits.argmax(1), len(images.classes))
    plots.confusion_matrix(matrix, images.classes, _plot(directory, "confusion_matrix"))
    return test


def _plot(directory: Path, name: str) -> Path:
    folder = directory / "plots"
    folder.mkdir(exist_ok=True)
    return folder / f"{name}.png"


def _summary(outcome: Outcome, materials: Materials, test: Scores | None) -> dict[str, Any]:
    e = materials.experiment
    return {
        "status": "completed",
        "strategy": e.strategy.name,
        "model": e.model.name,
        "dataset": e.dataset.name,
        "seed": e.seed,
        "epochs": e.trainer.epochs,
        "best_epoch": outcome.best_epoch,
        "val": outcome.val,
        "test": test,
        "parameters": dict(zip(("total", "trainable"), outcome.parameters, strict=True)),
        "train_seconds": outcome.train_seconds,
        "images_per_second": outcome.images / max(outcome.train_seconds, 1e-9),
        "peak_memory_bytes": devices.peak_memory_bytes(materials.device),
        "device": devices.device_name(materials.device),
        "precision": outcome.precision,
        "weights": outcome.weights[0],
        "weights_sha256": outcome.weights[1],
        "cache": {"hits": materials.cache.hits, "misses": materials.cache.misses},
        "images_decoded": materials.pixels.store.images_decoded,
        "config_hash": config_hash(e),
        **outcome.more,
    }


def _show(summary: dict[str, Any], reporter: Reporter) -> None:
    columns = ["split", "accuracy", "top-5", "macro F1", "loss", "ECE"]
    rows = [
        [
            f"{split} (epoch {summary['best_epoch']})",
            f"{100 * values['accuracy']:.2f} %",
            f"{100 * values['top5_accuracy']:.2f} %",
            f"{values['macro_f1']:.4f}",
            f"{values['loss']:.4f}",
            f"{values['ece']:.4f}",
        ]
        for split in ("val", "test")
        if (values := summary[split]) is not None
    ]
    speed = f"{summary['images_per_second']:,.0f} images/s, {summary['train_seconds']:.1f} s of training"
    if not rows:
        return
    reporter.table(f"{summary['strategy']} {summary['model']} on {summary['dataset']}: {speed}", columns, rows)
