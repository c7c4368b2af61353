"""A trained model whose confidences are brought in line with validation: its head divided by a temperature."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from torch import Tensor

from transfer_cli.cache.place import open_cache
from transfer_cli.config.schema import Experiment
from transfer_cli.data.same_images import check_classes
from transfer_cli.data.sources import load as sources
from transfer_cli.data.store import formats
from transfer_cli.data.store.formats import PixelRequest
from transfer_cli.engine.evaluation import predict
from transfer_cli.engine.stop import Stop
from transfer_cli.engine.task import Classification
from transfer_cli.files import write_json
from transfer_cli.methods.calibration import HIGHEST, LOWEST, fit_temperature
from transfer_cli.models.fitting import check_fit
from transfer_cli.models.heads import LINEAR
from transfer_cli.models.network import Network
from transfer_cli.models.tensors import metadata_of, read_tensors, replace_tensors
from transfer_cli.records.terminal import Reporter
from transfer_cli.rundir import SUMMARY, read_json, saved_experiment
from transfer_cli.runs.evaluating.images import as_trained, relabelled, used_once
from transfer_cli.runs.materials import open_pixels
from transfer_cli.runs.saved_model import DESCRIPTION, WEIGHTS, describe, load_trained

_TEMPERATURE = "temperature"
_ROUNDING = 1.001
_SAME = 1e-3
"""Temperatures that differ by less, as a share, are one."""


@dataclass(frozen=True)
class Calibrated:
    """The temperature, and calibration errors on validation before and after what was changed now."""

    temperature: float
    """Of all that the head was divided by, since it was trained."""
    before: float
    after: float
    at_first: float
    """The calibration error of the model as it was trained, before any temperature."""

    @property
    def changed(self) -> bool:
        """Whether the head is another one now."""
        return self.after < self.before

    @property
    def in_all(self) -> dict[str, float]:
        """What has become of the model since it was trained, for its summary."""
        return {"temperature": self.temperature, "before": self.at_first, "after": self.after}


def why_not(run: Path) -> str | None:
    """Why a model takes no temperature; None where it does."""
    if describe(run).head.kind not in LINEAR:
        return "its head is more than a linear map of features, so that no temperature can be put into its weights."
    return None


def calibrate(run: Path, reporter: Reporter, stop: Stop, asked: Experiment | None = None) -> Calibrated | None:
    """Divide the head of a run's model by the temperature that suits validation; None where that cannot be done.

    What it predicts stays the same; a model that was calibrated before is fitted as it was trained. A head that is more
    than a linear map of features does not take it: its layers divided are not its logits divided. Device, workers and
    cache are those of `asked`, else those of the training. Raises UserError where the classes of the data set are
    others by now.
    """
    e = saved_experiment(run)
    if asked is not None:
        e = replace(asked, dataset=used_once(e.dataset), seed=e.seed)
    if why_not(run) is not None:
        return None
    trained = load_trained(run, e)
    images = sources.load(e.dataset, e.seed)
    check_classes(run, images)
    val = images.splits["val"]
    if not trained.network.has_features or len(val) == 0:
        return None
    request = PixelRequest(formats.evaluation(trained.about.preprocessing), val)
    decoded = open_pixels(e, images, [request], open_cache(e.cache_dir, e.cache_size, reporter.warn), reporter, stop)
    with stop:
        batches = relabelled(trained.batches(decoded, "val", e), as_trained(decoded.images, trained.about.classes))
        found = predict(trained.network, batches, trained.compute, trained.to_device, stop)
    stop.check("while the model was calibrated, which is as it was")
    assert found is not None
    logits, labels = found
    earlier = temperature_of(run)
    temperature = fit_temperature(logits * np.float32(earlier), labels)
    factor = temperature / earlier
    task = Classification(trained.about.classes)
    several = (logits, logits / np.float32(factor), logits * np.float32(earlier))
    before, after, at_first = (float(task.scores(one, labels)["ece"]) for one in several)
    if after >= before or math.isclose(factor, 1.0, rel_tol=_SAME):
        _describe(run, earlier)
        return Calibrated(earlier, before, before, at_first)
    divided = _divided(read_tensors(run / WEIGHTS), trained.network, factor)
    # With the weights: whatever ends the process here, nothing is divided twice.
    replace_tensors(run / WEIGHTS, divided, {_TEMPERATURE: repr(temperature)})
    _describe(run, temperature)
    reporter.say(
        f"calibrated: temperature {temperature:.3g}, calibration error on validation {before:.4f} to {after:.4f}"
    )
    return Calibrated(temperature, before, after, at_first)


def weights_as_trained(run: Path, network: Network) -> dict[str, Tensor]:
    """The weights of a run whose model is such a network, before any temperature: those of runs go together.

    Raises UserError for those of another network.
    """
    tensors = read_tensors(run / WEIGHTS)
    check_fit(network.module, tensors, run / WEIGHTS, tensors)
    return _divided(tensors, network, 1 / temperature_of(run))


def _divided(tensors: dict[str, Tensor], network: Network, temperature: float) -> dict[str, Tensor]:
    heads = tuple(f"{path}." for path in network.stages[-1].modules)
    return {n: tensor / temperature if n.startswith(heads) else tensor for n, tensor in tensors.items()}


def temperature_of(run: Path) -> float:
    """What a model's head was divided by before; 1 where it was not."""
    with_weights = metadata_of(run / WEIGHTS).get(_TEMPERATURE)
    found = read_json(run / DESCRIPTION).get(_TEMPERATURE) if with_weights is None else _number(with_weights)
    if found is None:
        # One that mode=auto of an earlier version calibrated.
        earlier = read_json(run / SUMMARY).get("calibration")
        found = earlier.get("temperature") if isinstance(earlier, dict) else None
    # What no fit gives is none: divided by that, a head would be nothing but zeros.
    if isinstance(found, int | float) and LOWEST / _ROUNDING <= found <= HIGHEST * _ROUNDING:
        return float(found)
    return 1.0


def _describe(run: Path, temperature: float) -> None:
    """Say it in the model's description as well, where that does not yet."""
    about = read_json(run / DESCRIPTION)
    if about.get(_TEMPERATURE, 1.0) != temperature:
        write_json(run / DESCRIPTION, {**about, _TEMPERATURE: temperature})


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
