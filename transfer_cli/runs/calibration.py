"""A trained model whose confidences are brought in line with validation: its head divided by a temperature."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from transfer_cli.cache.place import open_cache
from transfer_cli.data.sources import load as sources
from transfer_cli.data.store import formats
from transfer_cli.data.store.formats import PixelRequest
from transfer_cli.engine.evaluation import predict
from transfer_cli.engine.stop import Stop
from transfer_cli.engine.task import Classification
from transfer_cli.methods.calibration import fit_temperature
from transfer_cli.models.heads import LINEAR
from transfer_cli.models.tensors import read_tensors, replace_tensors
from transfer_cli.records.terminal import Reporter
from transfer_cli.rundir import saved_experiment
from transfer_cli.runs.materials import open_pixels
from transfer_cli.runs.saved_model import WEIGHTS, describe, load_trained


@dataclass(frozen=True)
class Calibrated:
    """The temperature, and calibration errors on validation before and after it."""

    temperature: float
    before: float
    after: float


def why_not(run: Path) -> str | None:
    """Why a model takes no temperature; None where it does."""
    if describe(run).head.kind not in LINEAR:
        return "its head is more than a linear map of features, so that no temperature can be put into its weights."
    return None


def calibrate(run: Path, reporter: Reporter, stop: Stop) -> Calibrated | None:
    """Divide the head of a run's model by the temperature that suits validation; None where that cannot be done.

    What it predicts stays the same. A head that is more than a linear map of features does not take it: its layers
    divided are not its logits divided.
    """
    e = saved_experiment(run)
    if why_not(run) is not None:
        return None
    trained = load_trained(run, e)
    images = sources.load(e.dataset, e.seed)
    val = images.splits["val"]
    if not trained.network.has_features or len(val) == 0:
        return None
    request = PixelRequest(formats.evaluation(trained.about.preprocessing), val)
    decoded = open_pixels(e, images, [request], open_cache(e.cache_dir, e.cache_size, reporter.warn), reporter, stop)
    with stop:
        found = predict(trained.network, trained.batches(decoded, "val", e), trained.compute, trained.to_device, stop)
    stop.check("while the model was calibrated; the same command with resume=auto calibrates it again")
    assert found is not None
    logits, labels = found
    temperature = fit_temperature(logits, labels)
    task = Classification(trained.about.classes)
    before, after = (float(task.scores(one, labels)["ece"]) for one in (logits, logits / np.float32(temperature)))
    if after >= before:
        return Calibrated(1.0, before, before)
    heads = tuple(f"{path}." for path in trained.network.stages[-1].modules)
    tensors = read_tensors(run / WEIGHTS)
    for name in tensors:
        if name.startswith(heads):
            tensors[name] = tensors[name] / temperature
    replace_tensors(run / WEIGHTS, tensors)
    reporter.say(
        f"calibrated: temperature {temperature:.3g}, calibration error on validation {before:.4f} to {after:.4f}"
    )
    return Calibrated(temperature, before, after)
