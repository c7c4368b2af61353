"""Whether a teacher knows more than the student could read off its own pretrained features."""

from __future__ import annotations

from dataclasses import replace

import torch

from transfer_cli.engine.devices.device import Compute
from transfer_cli.engine.stop import Stop
from transfer_cli.errors import RunError
from transfer_cli.methods.distill.chance import is_clearly_lower
from transfer_cli.models.network import Network
from transfer_cli.models.weights import LoadReport
from transfer_cli.records.terminal import Reporter
from transfer_cli.runs.distill.teacher import FINETUNE_FIRST, KEY, TRAIN_LONGER, Teacher
from transfer_cli.runs.frozen.probe import fit_probe
from transfer_cli.runs.materials import Materials

PROBE_EPOCHS = 20


def probe_accuracy(
    m: Materials, network: Network, weights: LoadReport, compute: Compute, reporter: Reporter, stop: Stop
) -> float | None:
    """Validation accuracy of a linear head on the student's frozen features, of one view of each labelled image.

    None where that says nothing: random weights, a head that reads pooled stages, no labelled validation images. The
    features are cached, so that only the first student of a sweep computes them.
    """
    pretrained = weights.sha256 is not None
    if not pretrained or not network.has_features or network.readout is not None or len(m.images.splits["val"]) == 0:
        return None
    devices = [m.device] if m.device.type == "cuda" else []
    try:
        with torch.random.fork_rng(devices):
            fitted = fit_probe(_labelled(m), network, PROBE_EPOCHS, compute, None, reporter, stop)
    except (OSError, RunError) as error:
        reporter.warn(f"how good the student's own features are is not known: {error}")
        return None
    return None if fitted.val is None else float(fitted.val["accuracy"])


def warn_of_weak(
    teacher: Teacher, accuracy: float | None, probe: float | None, images: int, reporter: Reporter
) -> None:
    """Say so where a teacher is right clearly less often on validation than the student's own features allow.

    Clearly: with 95 % confidence, both being shares of so many `images`.
    """
    if accuracy is None or probe is None:
        return
    if is_clearly_lower(accuracy, probe, images):
        advice = TRAIN_LONGER if teacher.trained_here else FINETUNE_FIRST
        reporter.warn(
            f"{KEY}: {teacher.name} is right for {100 * accuracy:.2f} % of {images} validation images, a linear head "
            f"on the student's own frozen features for {100 * probe:.2f} %: it may hold the student back. {advice}"
        )


def _labelled(m: Materials) -> Materials:
    """The training images that have labels, in one view, and those of validation."""
    train = m.images.splits["train"]
    splits = {**m.images.splits, "train": train[m.images.labels[train] >= 0]}
    return m.with_images(replace(m.images, splits=splits)).with_augment(replace(m.augment, views=1))
