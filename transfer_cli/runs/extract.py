"""strategy=extract: features of a frozen backbone, each computed once, and a head fitted to them."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from transfer_cli.config.extract import Extract
from transfer_cli.config.schema import Experiment
from transfer_cli.engine import states
from transfer_cli.engine.device import Compute
from transfer_cli.engine.frozen import Frozen
from transfer_cli.engine.precision import choose_precision, time_inference
from transfer_cli.errors import UserError, nearest
from transfer_cli.models.network import Network, Readout
from transfer_cli.records.metrics import MetricsLog
from transfer_cli.records.terminal import Reporter
from transfer_cli.records.trials import record_trials
from transfer_cli.runs import materials as building
from transfer_cli.runs.backbone import Backbone
from transfer_cli.runs.extract_unlabelled import Unlabelled
from transfer_cli.runs.features import CachedFeatures, LiveFeatures, features_of, forward_features
from transfer_cli.runs.finish import Outcome
from transfer_cli.runs.materials import Materials
from transfer_cli.runs.saved_model import save_trained
from transfer_cli.runs.views import PLAIN, shows_evaluation_pixels
from transfer_cli.strategies.extract import Features, Fitted, Fitting, head_logits
from transfer_cli.strategies.solvers import SOLVERS


@dataclass(frozen=True)
class Extracted:
    """A head to be fitted to the features of a backbone, which is built only if some are missing."""

    materials: Materials
    config: Extract
    backbone: Backbone
    readout: Readout | None
    compute: Compute

    @property
    def precision(self) -> str:
        """Of the backbone; the head is fitted in fp32."""
        return self.compute.precision

    def run(self, directory: Path, reporter: Reporter, stop_code: Callable[[], int | None]) -> Outcome:
        """Compute the features that are missing, fit the head, keep the best."""
        m, e = self.materials, self.materials.experiment
        log = MetricsLog.resume(directory / "metrics.jsonl", 0)
        frozen = features_of(self.backbone, self.config, self.readout, self.compute, reporter, stop_code)
        features = self._features(frozen)
        started = time.perf_counter()
        fitted = SOLVERS[self.config.solver](Fitting(features, e, self.config, log, reporter, stop_code))
        seconds = time.perf_counter() - started
        record_trials(fitted.trials, directory)
        facts = self.backbone.facts()
        head = fitted.module(features.classes).to(m.device)
        own = sum(tensor.numel() for tensor in head.parameters())
        return Outcome(
            best_epoch=fitted.best_epoch,
            val=fitted.val,
            step=fitted.steps,
            log=log,
            precision=self.precision,
            save_model=lambda run: self._save(run, fitted, str(facts["classifier"])),
            test_logits=lambda: head_logits(features, head, "test"),
            parameters=(int(facts["parameters"]) + own, own),
            weights=(m.source.label, self.backbone.weights_sha256),
            train_seconds=seconds,
            images=fitted.images,
            more={"backbone_images": frozen.images_computed},
        )

    def _features(self, frozen: Frozen) -> Features:
        batch_size = self.materials.experiment.trainer.batch_size
        if not self.config.cache:
            return LiveFeatures(self.materials, frozen, batch_size)
        cached = CachedFeatures(self.materials, frozen, batch_size)
        cached.compute()
        return cached

    def _save(self, run: Path, fitted: Fitted, classifier: str) -> None:
        head = {f"{classifier}.{name}": tensor for name, tensor in fitted.tensors.items()}
        spec = replace(fitted.spec, pooling=self.config.pooling, stages=self.config.stages)
        save_trained(run, self.materials, {**self.backbone.tensors(), **head}, spec, self.precision)


def prepare(experiment: Experiment, reporter: Reporter, state: states.State | None) -> Extracted | Unlabelled:
    """Choose the precision and check what can be checked; builds the backbone unless all its features are cached."""
    e, config = experiment, experiment.strategy
    assert isinstance(config, Extract)
    augment = e.augment if e.augment.views else PLAIN
    if e.dataset.labels == "classes" and not e.augment.views and not shows_evaluation_pixels(e.augment):
        reporter.say(
            "augment   off: features are of the pixels of evaluation; augment.views=<K> gives K augmented views"
        )
    m = building.gather(e, augment, reporter)
    readout = Readout(config.pooling, config.stages) if config.stages or config.pooling != "auto" else None
    unlabelled = e.dataset.labels == "none"
    backbone = Backbone(m, keep_head=unlabelled)
    size = m.preprocessing.crop_pixels
    work = {"work": "features", "model": e.model.name, "source": e.model.source, "image_size": size}

    def measure() -> dict[str, float]:
        return time_inference(forward_features(backbone.network, readout), size)

    if unlabelled or not backbone.is_known() or readout is not None:
        _check(backbone.network, config)
    chosen, reason = choose_precision(e.trainer.precision, m.device, m.precision_memory, work, measure)
    m = building.with_pixels(m, reporter)
    reporter.say(f"model     {e.model.name}: {m.source.label}, {size} px, frozen")
    building.say_device(m, reason, reporter)
    kind = Unlabelled if unlabelled else Extracted
    return kind(m, config, backbone, readout, Compute(m.device, chosen))


def _check(network: Network, config: Extract) -> None:
    """Raises UserError for a network without features, or stages that it does not have."""
    if not network.has_features:
        raise UserError(
            "strategy=extract: this model has no features [B, D] before one classifying layer: it classifies every "
            "place of the image and pools afterwards, or its architecture is not known here. Take another model, or "
            "strategy=finetune."
        )
    names = [stage.name for stage in network.stages[:-1]]
    for name in config.stages:
        if name not in names:
            near = nearest(name, names)
            hint = f" Did you mean {' or '.join(near)}?" if near else ""
            raise UserError(f"strategy.stages={name}: no such stage.{hint} Stages: {', '.join(names)}.")
