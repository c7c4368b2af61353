"""Rows for the tables of a run's page."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from transfer_cli.records import wilson
from transfer_cli.records.pages.charts import short_number
from transfer_cli.records.pages.predicted import Integers, OfClass, Predicted
from transfer_cli.records.pages.render import count, number, score, seconds
from transfer_cli.records.pages.words import mixture
from transfer_cli.records.text import in_words

Facts = Mapping[str, Any]
NAMES = {
    "accuracy": "accuracy",
    "top5_accuracy": "top-5 accuracy",
    "macro_f1": "macro F1",
    "balanced_accuracy": "balanced accuracy",
    "loss": "loss (cross-entropy)",
    "ece": "ECE",
    "auroc": "AUROC",
}
PARTS = {
    "preparation": "preparation (images, weights)",
    "training": "training",
    "others": "training of other jobs' heads beside it",
    "search": "search of settings (its winner's epochs are training)",
    "evaluation": "frozen features, first head, evaluation, saved states",
    "test": "test split",
}


def figures(s: Facts, found: Predicted | None) -> list[dict[str, str]]:
    """What matters most, as name, value and a remark."""
    metric = s.get("metric") or "accuracy"
    name = NAMES.get(metric, metric)
    tiles = []
    test, val = s.get("test") or {}, s.get("val") or {}
    if metric in test:
        tiles.append(tile(f"Test {name}", score(test[metric], metric), _hits(found) if metric == "accuracy" else ""))
    if metric in val:
        tiles.append(tile(f"Validation {name}", score(val[metric], metric), _chosen(s)))
    for other, remark in (("macro_f1", "test, every class alike"), ("ece", "test, 0 is best")):
        if other in test and other != metric:
            tiles.append(tile(NAMES[other][0].upper() + NAMES[other][1:], number(test[other]), remark))
    if s.get("train_seconds") is not None:
        tiles.append(tile("Training", seconds(s["train_seconds"]), f"{count(s.get('images_per_second'))} images/s"))
    parameters = s.get("parameters") or {}
    if parameters.get("trainable") is not None:
        trained = short_number(parameters["trainable"])
        tiles.append(tile("Parameters trained", trained, f"of {short_number(parameters['total'])}"))
    return tiles


def _chosen(s: Facts) -> str:
    """Whose scores on validation they are."""
    if s.get("soup"):
        return f"of a soup's recipes: {s['soup']}"
    of = f" of {s['epochs']}" if s.get("epochs") else ""
    return f"best epoch {s['best_epoch']}{of}" if s.get("best_epoch") is not None else ""


def tile(name: str, value: str, more: str) -> dict[str, str]:
    """One of the figures on top of a page."""
    return {"name": name, "value": value, "more": more}


def _hits(found: Predicted | None) -> str:
    if found is None or not found.known.any():
        return ""
    images = int(found.known.sum())
    right = int(found.right.sum())
    low, high = wilson.interval(right / images, images)
    return f"{right:,} of {images:,}; 95\u00a0% interval {100 * low:.1f}–{100 * high:.1f}\u00a0%"


def done(s: Facts, config: Facts) -> list[tuple[str, str]]:
    """The settings that say most, as pairs; those that are not known are left out."""
    optimizer, trainer, augment = (config.get(group) or {} for group in ("optimizer", "trainer", "augment"))
    scheduler, strategy = config.get("scheduler") or {}, config.get("strategy") or {}
    learns = not s.get("soup") and (s.get("strategy") != "extract" or strategy.get("solver") == "optimizer")
    rows: list[tuple[str, Any]] = [
        ("strategy", s.get("strategy") or strategy.get("name")),
        ("model", s.get("model")),
        ("started from", s.get("weights")),
        ("data set", s.get("dataset")),
        ("path of the data", (config.get("dataset") or {}).get("path")),
        ("image size", f"{config['image_size']} px" if config.get("image_size") else None),
        ("averaged weights", s.get("soup") or mixture(s)),
        ("epochs", s.get("epochs") if learns else None),
        ("batch size", trainer.get("batch_size") if learns else None),
        ("optimizer", _optimizer(optimizer) if learns else None),
        ("schedule", scheduler.get("name") if learns else None),
        ("augmentation", augment.get("name") if learns else None),
        ("chosen by", f"{s['metric']} on validation" if s.get("metric") else None),
        ("device", " at ".join(str(s[key]) for key in ("device", "precision") if s.get(key)) or None),
        ("peak memory", in_words(s["peak_memory_bytes"]) if s.get("peak_memory_bytes") else None),
        ("seed", s.get("seed")),
        ("configuration", s.get("config_hash")),
    ]
    return [(name, str(value)) for name, value in rows if value is not None]


def _optimizer(optimizer: Facts) -> str | None:
    if not optimizer.get("name"):
        return None
    rates = {"learning rate": optimizer.get("lr"), "weight decay": optimizer.get("weight_decay")}
    return ", ".join(
        [str(optimizer["name"]), *(f"{name} {value}" for name, value in rates.items() if value is not None)]
    )


def environment(found: Facts) -> list[tuple[str, str]]:
    """Where it ran and with what."""
    keys = {
        "started": "time",
        "host": "host",
        "platform": "platform",
        "device": "device",
        "cores": "cpus",
        "folder": "folder",
        "git commit": "git_commit",
    }
    pairs = [(name, found.get(key)) for name, key in keys.items()]
    versions = found.get("versions") or {}
    return [(name, str(value)) for name, value in [*pairs, *versions.items()] if value is not None]


def epochs(by_split: Mapping[str, Sequence[Facts]]) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """A row for each epoch with loss and accuracy of both splits, and the rate at its end."""
    cells: dict[int, dict[str, str]] = {}
    for split, events in by_split.items():
        for event in events:
            row = cells.setdefault(int(event["epoch"]), {})
            for name in ("loss", "accuracy"):
                row[f"{split} {name}"] = score(event.get(name), name)
            if event.get("learning_rate") is not None:
                row["learning rate"] = f"{event['learning_rate']:.3g}"
    order = [f"{split} {name}" for split in by_split for name in ("loss", "accuracy")] + ["learning rate"]
    columns = [name for name in order if any(name in row for row in cells.values())]
    return columns, [(epoch, [cells[epoch].get(name, "") for name in columns]) for epoch in sorted(cells)]


def matrix(confusion: Integers, classes: Sequence[str]) -> list[tuple[str, list[dict[str, Any]]]]:
    """Each class and the cells of its row; a shade is the root of the share, since mistakes are rare."""
    rows = []
    for true, name in enumerate(classes):
        images = max(int(confusion[true].sum()), 1)
        cells = [
            {
                "count": int(value),
                "kind": "none" if not value else "ok" if guess == true else "",
                "shade": f"{0.12 + 0.88 * math.sqrt(value / images):.2f}",
            }
            for guess, value in enumerate(confusion[true])
        ]
        rows.append((name, cells))
    return rows


def of_classes(rows: Sequence[OfClass], dataset: Facts) -> list[dict[str, Any]]:
    """What a row of the table of classes holds, with the plain numbers that it sorts by."""
    trained = (dataset.get("images_of_class") or {}).get("train") or {}
    return [
        {
            "row": row,
            "train": trained.get(row.name),
            "width": round(100 * (row.recall or 0), 1),
            "taken": row.taken if row.taken else "",
            **{key: _plain(getattr(row, key)) for key in ("recall", "precision", "f1")},
        }
        for row in rows
    ]


def _plain(value: float | None) -> str:
    return "" if value is None else f"{value:.6f}"


def groups(rows: Sequence[Sequence[str]]) -> list[list[str]]:
    """The lines of parameters.csv; frozen ones say so."""
    return [
        [stage, f"{int(parameters):,}", rate or "frozen", decay, epoch]
        for stage, parameters, rate, decay, epoch in rows
    ]
