"""Ways to fit a head, by name: an optimizer over epochs, or closed forms that need no epochs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from transfer_cli.errors import UserError
from transfer_cli.methods.probes.class_means import cosine_means
from transfer_cli.methods.probes.linear_layer import LinearLayer, Standardiser
from transfer_cli.methods.probes.logistic import sweep_logistic
from transfer_cli.methods.probes.neighbours import nearest, votes
from transfer_cli.methods.probes.ridge import RIDGE_REGULARIZERS, ridge
from transfer_cli.methods.scores import Rank, Scores
from transfer_cli.models.heads import HeadSpec
from transfer_cli.records import wilson
from transfer_cli.records.events import EpochEnd
from transfer_cli.strategies import shared_fits
from transfer_cli.strategies.extract import Fitted, Fitting

Table = tuple[Tensor, Tensor]


def by_lbfgs(f: Fitting) -> Fitted:
    """Multinomial logistic regression, its penalty chosen on validation (Kornblith 2019; CLIP, Radford 2021).

    Among penalties whose scores may differ by chance the loss decides: of 16 images all may be right by luck.
    """
    (train, labels), (val, val_labels), scaler = _tables(f)
    if len(val_labels) == 0:
        raise UserError("strategy.solver=lbfgs: the penalty is chosen on validation, and there are no such images.")
    tables = scaler.apply(train), labels, scaler.apply(val), val_labels

    def rank(logits: Tensor) -> Rank:
        return f.task.rank(_measured(f, logits, val_labels))

    def least(score: float) -> float:
        """What as many images may score by chance where another scores this."""
        return wilson.interval(score, len(val_labels))[0] if 0 <= score <= 1 and f.task.metric != "loss" else score

    found = sweep_logistic(*tables, f.features.classes, rank=rank, least=least)
    if not found.best.converged:
        f.reporter.warn(f"L-BFGS stopped after {found.best.iterations} iterations, before its gradient was small")
    trials = [
        {
            "penalty": one.penalty,
            "val_accuracy": one.accuracy,
            "val_loss": one.loss,
            "iterations": one.iterations,
            "chosen": one.penalty == found.best.penalty,
        }
        for one in sorted(found.trials, key=lambda trial: trial.rank, reverse=True)
    ]
    return _linear(f, scaler, found.best.layer, trials)


def by_ridge(f: Fitting) -> Fitted:
    """Ridge regression on one-hot targets, its penalty by leave-one-out error on the training samples."""
    (train, labels), _, scaler = _tables(f)
    found = ridge(scaler.apply(train), labels, f.features.classes)
    trials = [
        {"penalty": penalty, "left_out_error": error, "val_accuracy": None, "chosen": penalty == found.penalty}
        for penalty, error in zip(RIDGE_REGULARIZERS, found.errors, strict=True)
    ]
    return _linear(f, scaler, found.layer, trials)


def by_class_means(f: Fitting) -> Fitted:
    """The class whose mean direction is nearest by cosine."""
    (train, labels), _, scaler = _tables(f)
    weight = cosine_means(scaler.apply(train), labels, f.features.classes).weight
    spec = HeadSpec(kind="cosine", width=train.shape[1])
    return _fitted(f, spec, {**_scaling(scaler), "weight": weight.cpu()}, len(labels), [])


def by_neighbours(f: Fitting) -> Fitted:
    """Votes of the nearest training samples, how many by validation (DINO protocol, Caron 2021)."""
    (train, labels), (val, val_labels), scaler = _tables(f)
    stored = scaler.apply(train)
    counts = sorted({min(count, len(labels)) for count in f.config.neighbours})
    tried: dict[int, Scores] = {}
    if len(val_labels):
        found = nearest(scaler.apply(val), stored, counts[-1])
        tried = {
            count: _measured(f, votes(found, labels, f.features.classes, count).clamp_min(1e-12).log(), val_labels)
            for count in counts
        }
    # Without validation samples, or among equals, the fewest.
    ranked = sorted(counts, key=lambda count: (-f.task.rank(tried[count])[0] if tried else 0.0, count))
    best = ranked[0]
    trials = [
        {"neighbours": count, "val_accuracy": tried[count]["accuracy"], "chosen": count == best}
        for count in ranked
        if tried
    ]
    spec = HeadSpec(kind="neighbours", width=train.shape[1], samples=len(labels), neighbours=best)
    tensors = {**_scaling(scaler), "stored": F.normalize(stored, dim=1).cpu(), "labels": labels.cpu()}
    return _fitted(f, spec, tensors, len(labels), trials)


SOLVERS: dict[str, Callable[[Fitting], Fitted]] = {
    "optimizer": shared_fits.by_optimizer,
    "lbfgs": by_lbfgs,
    "ridge": by_ridge,
    "ncm": by_class_means,
    "knn": by_neighbours,
}


def _measured(f: Fitting, logits: Tensor, labels: Tensor) -> Scores:
    return f.task.scores(logits.cpu().numpy(), labels.cpu().numpy())


def _tables(f: Fitting) -> tuple[Table, Table, Standardiser]:
    """Training and validation samples, and what standardises their features."""
    train = f.table("train")
    f.check_stop()
    return train, f.table("val"), f.scaler(train[0])


def _scaling(scaler: Standardiser) -> dict[str, Tensor]:
    return {"mean": scaler.mean.float().cpu(), "scale": scaler.deviation.float().cpu()}


def _linear(f: Fitting, scaler: Standardiser, layer: LinearLayer, trials: list[dict[str, Any]]) -> Fitted:
    """A linear head with the standardisation folded in."""
    folded = scaler.fold(layer)
    tensors = {name: tensor.cpu() for name, tensor in folded._asdict().items()}
    spec = HeadSpec(kind="probe", width=layer.weight.shape[1])
    return _fitted(f, spec, tensors, len(f.table("train")[1]), trials)


def _fitted(
    f: Fitting, spec: HeadSpec, tensors: dict[str, Tensor], images: int, trials: list[dict[str, Any]]
) -> Fitted:
    """The head, scored as it will be exported, and its two lines in the metrics log."""
    f.check_stop()
    fitted = Fitted(spec, tensors, best_epoch=1, val=None, steps=1, images=images, trials=trials)
    head = fitted.module(f.features.classes).to(f.table("train")[0].device)
    train, val = (_scores(f, head, split) for split in ("train", "val"))
    assert train is not None
    speed = images / max(f.seconds(), 1e-9)
    splits = {"train": train} if val is None else {"train": train, "val": val}
    f.recorders.epoch_ends(EpochEnd(1, 1, splits, images_per_second=speed, is_best=val is not None))
    return replace(fitted, val=val)


@torch.no_grad()
def _scores(f: Fitting, head: torch.nn.Module, split: str) -> Scores | None:
    rows, labels = f.table(split)
    return _measured(f, head(rows), labels) if len(labels) else None
