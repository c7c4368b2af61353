"""Run directories as trainings leave them, made without a training."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from safetensors.numpy import save_file

from tests.conftest import experiment
from transfer_cli.config.parse import to_dict
from transfer_cli.config.schema import Experiment
from transfer_cli.csv_files import write_csv
from transfer_cli.data.reading.image_set import ImageSet
from transfer_cli.data.sources.load import load
from transfer_cli.models.heads import HeadSpec

CLASSES = ["class_0", "class_1", "class_2"]


def made(run: Path, *words: str, classes: list[str] | None = None, **summary: Any) -> Path:
    """A completed run on 60 generated images, one of its 9 test images called wrong, with classes of these names."""
    names = classes or CLASSES
    run.mkdir(parents=True)
    e = _experiment(words)
    (run / "config.yaml").write_text(yaml.safe_dump(to_dict(e)))
    scores = {"accuracy": 0.875, "macro_f1": 0.8, "loss": 0.5, "ece": 0.1}
    result: dict[str, Any] = {
        "status": "completed",
        "strategy": e.strategy.name,
        "model": e.model.name,
        "dataset": "fake",
        "seed": 0,
        "epochs": 2,
        "best_epoch": 2,
        "metric": "accuracy",
        "val": scores,
        "test": scores,
        "parameters": {"total": 1000, "trainable": 10},
        "train_seconds": 3.25,
        "images_per_second": 100.0,
        "seconds": {"preparation": 1.0, "training": 3.25, "evaluation": 0.5, "test": 0.25},
        **summary,
    }
    (run / "summary.json").write_text(json.dumps(result))
    about = {"command": "/bin/transfer-run name=one", "folder": str(Path.cwd()), "time": f"2026-01-{len(run.name):02d}"}
    (run / "environment.json").write_text(json.dumps(about))
    (run / "dataset.json").write_text(json.dumps(_dataset(names)))
    events = [
        {"step": 4 * epoch, "epoch": epoch, "split": split, "loss": 1 / epoch, "accuracy": 1 - 0.5 / epoch}
        for epoch in (1, 2)
        for split in ("train", "val")
    ]
    (run / "metrics.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))
    columns = ["stage", "parameters", "learning_rate", "weight_decay", "trains_from_epoch"]
    write_csv(run / "parameters.csv", columns, [["stem", 990, None, None, None], ["head", 10, 0.1, 0.0, 1]])
    _predictions(run, load(e.dataset, e.seed), names)
    return run


def with_model(run: Path, classes: list[str] | None = None, **more: Any) -> Path:
    """A run as `made` makes it, with a model that has one small tensor."""
    p = {"crop_pixels": 32, "resize_pixels": 40, "interpolation": "bicubic", "mean": [0.5] * 3, "std": [0.5] * 3}
    about = {"model": {"name": "test_resnet", "source": "timm"}, "classes": classes or CLASSES, "precision": "fp32"}
    about |= {"preprocessing": {**p, "fit": "crop"}, "head": HeadSpec().to_dict(), **more}
    (run / "model.json").write_text(json.dumps(about))
    save_file({"weight": np.arange(6, dtype=np.float32)}, run / "model.safetensors")
    return run


@functools.cache
def _experiment(words: tuple[str, ...]) -> Experiment:
    return experiment("dataset=fake", "dataset.num_classes=3", "dataset.samples=60", *words)


def _dataset(names: list[str]) -> dict[str, Any]:
    counts = {"train": 14, "val": 3, "test": 3}
    return {
        "name": "fake",
        "classes": names,
        "images": {split: 3 * count for split, count in counts.items()},
        "images_of_class": {split: dict.fromkeys(names, count) for split, count in counts.items()},
        "skipped": [],
    }


def _predictions(run: Path, images: ImageSet, names: list[str]) -> None:
    rows = []
    for number, index in enumerate(images.splits["test"].tolist()):
        label = int(images.labels[index])
        guess = (label + 1) % 3 if number == 0 else label
        rows.append([images.ids[index], names[label], names[guess], f"{0.9 - 0.05 * number:.6f}"])
    write_csv(run / "predictions.csv", ["path", "label", "predicted", "confidence"], rows)
