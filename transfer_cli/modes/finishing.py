"""The end of a training: best weights, one look at the test split, and the files that tell of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from transfer_cli.config import config_hash
from transfer_cli.engine import device as devices
from transfer_cli.engine import states
from transfer_cli.engine.fit import Best, Fit, Scores
from transfer_cli.errors import RunError, Stopped
from transfer_cli.modes import building
from transfer_cli.modes.building import Setup
from transfer_cli.modes.trained import save_trained
from transfer_cli.records import plots
from transfer_cli.records.metrics import read as read_metrics
from transfer_cli.records.predictions import write_predictions
from transfer_cli.records.scores import confusion, scores, softmax
from transfer_cli.records.summary import write_summary
from transfer_cli.records.terminal import Reporter


def finish(setup: Setup, fit: Fit, best: Best, directory: Path, reporter: Reporter) -> dict[str, Any]:
    """Evaluate the best weights on test, write the remaining files, summary last; returns the summary."""
    _load_best(setup, directory / "checkpoints" / best.state)
    save_trained(directory, setup)
    test = _test(setup, fit, best, directory)
    plots.curves(read_metrics(directory / "metrics.jsonl"), _plot(directory, "curves"))
    summary = _summary(setup, fit, best, test)
    write_summary(directory, **summary)
    _show(summary, reporter)
    return summary


def _load_best(setup: Setup, state: Path) -> None:
    problem = states.damage(state)
    if problem is not None:
        raise RunError(f"the best weights cannot be read back: {state}: {problem}.")
    setup.network.module.load_state_dict(states.load_weights(state))


def _test(setup: Setup, fit: Fit, best: Best, directory: Path) -> Scores | None:
    result = building.split_logits(setup, "test", lambda: fit.stop_code() is not None)
    code = fit.stop_code()
    if code is not None:
        raise Stopped(code, "after the last epoch, state saved; the same command with resume=auto finishes the run")
    if result is None:
        return None
    logits, labels = result
    test = scores(logits, labels)
    fit.log.write(step=fit.progress.cursor.step, epoch=best.epoch, split="test", **test)
    fit.log.flush()
    _record_predictions(setup, logits, labels, directory)
    return test


def _record_predictions(setup: Setup, logits: NDArray[np.float32], labels: NDArray[np.int64], directory: Path) -> None:
    images = setup.images
    ids = [images.ids[index] for index in images.splits["test"]]
    write_predictions(directory / "predictions.csv", ids, labels, images.classes, softmax(logits))
    matrix = confusion(labels, logits.argmax(1), len(images.classes))
    plots.confusion_matrix(matrix, images.classes, _plot(directory, "confusion_matrix"))


def _plot(directory: Path, name: str) -> Path:
    folder = directory / "plots"
    folder.mkdir(exist_ok=True)
    return folder / f"{name}.png"


def _summary(setup: Setup, fit: Fit, best: Best, test: Scores | None) -> dict[str, Any]:
    e, progress = setup.experiment, fit.progress
    total, trainable = building.parameter_counts(setup.network)
    return {
        "status": "completed",
        "strategy": e.strategy.name,
        "model": e.model.name,
        "dataset": e.dataset.name,
        "seed": e.seed,
        "epochs": e.trainer.epochs,
        "best_epoch": best.epoch,
        "val": best.val,
        "test": test,
        "parameters": {"total": total, "trainable": trainable},
        "train_seconds": progress.train_seconds,
        "images_per_second": progress.images / max(progress.train_seconds, 1e-9),
        "peak_memory_bytes": devices.peak_memory_bytes(setup.compute.device),
        "device": devices.device_name(setup.compute.device),
        "precision": setup.compute.precision,
        "weights": setup.weights.label,
        "weights_sha256": setup.weights.sha256,
        "cache": {"hits": setup.cache.hits, "misses": setup.cache.misses},
        "images_decoded": setup.opened.store.images_decoded,
        "config_hash": config_hash(e),
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
    reporter.table(f"{summary['strategy']} {summary['model']} on {summary['dataset']}: {speed}", columns, rows)
