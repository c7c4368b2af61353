"""A linear head fitted to the frozen features of a network before, or beside, its training.

"Fine-tuning can distort pretrained features and underperform out-of-distribution" (Kumar 2022, arXiv 2202.10054).
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from transfer_cli.config.extract import Extract, linear_probe
from transfer_cli.config.optimizers import AdamFamily, Smooth
from transfer_cli.config.schema import Experiment
from transfer_cli.engine.devices.device import Compute
from transfer_cli.engine.stop import Stop
from transfer_cli.models.network import Network
from transfer_cli.records.events import Recorders
from transfer_cli.records.metrics import MetricsRecorder
from transfer_cli.records.terminal import Reporter
from transfer_cli.runs.frozen.activation_caching import frozen_prefix
from transfer_cli.runs.frozen.features import CachedFeatures
from transfer_cli.runs.materials import Materials
from transfer_cli.runs.views import NO_AUGMENT
from transfer_cli.strategies.extract import Fitted, Fitting
from transfer_cli.strategies.solvers import SOLVERS

LOG = "probe.jsonl"
BATCH_SIZE = 256
# The best of these on validation; the first where there is none.
RATES = (1e-3, 1e-4, 1e-2)


def fit_probe(
    materials: Materials,
    network: Network,
    epochs: int,
    compute: Compute,
    directory: Path | None,
    reporter: Reporter,
    stop: Stop,
) -> Fitted:
    """A linear head on the features [B, D] of `network`, whose tensors must be those it started from.

    Features are of the pixels of evaluation, or of every view where these repeat. With a run directory its epochs go
    to `probe.jsonl` there. `epochs` 0: by L-BFGS, its penalty chosen on validation.
    """
    augment = materials.augment
    m = _without_test(materials).with_augment(replace(augment, mixup=0.0, cutmix=0.0) if augment.views else NO_AUGMENT)
    frozen = frozen_prefix(m, network, len(network.stages) - 1, compute, reporter, stop)
    features = CachedFeatures(m, frozen, BATCH_SIZE)
    features.compute()
    experiment, config = _by_epochs(m.experiment, epochs) if epochs else _by_lbfgs(m.experiment)
    recorders = Recorders([] if directory is None else [MetricsRecorder(directory / LOG)])
    fitted = SOLVERS[config.solver](Fitting(features, experiment, config, m.task, recorders, reporter, stop))
    found = "" if fitted.val is None else f": {100 * fitted.val['accuracy']:.2f} % on validation"
    how = f"in {epochs} epochs" if epochs else "by L-BFGS"
    reporter.say(f"head      fitted to the frozen features {how}{found}")
    return fitted


def _without_test(m: Materials) -> Materials:
    """Nothing of a head's fit looks at the test split: its features would be computed for nothing."""
    images = m.images
    return m.with_images(replace(images, splits={**images.splits, "test": images.splits["test"][:0]}))


def put_head(network: Network, fitted: Fitted) -> None:
    """The fitted head in place of the network's own."""
    network.module.get_submodule(network.classifier).load_state_dict(fitted.tensors)


def _by_epochs(e: Experiment, epochs: int) -> tuple[Experiment, Extract]:
    """The experiment that fits the head: AdamW, several rates at once, on standardised features."""
    config = linear_probe("optimizer", RATES)
    experiment = replace(
        e,
        strategy=config,
        optimizer=AdamFamily("adamw", RATES[0], 0.01, (0.9, 0.999), 1e-8),
        scheduler=Smooth("cosine", 0.05, 0.01, 0.0),
        trainer=replace(e.trainer, epochs=epochs, batch_size=BATCH_SIZE),
    )
    return experiment, config


def _by_lbfgs(e: Experiment) -> tuple[Experiment, Extract]:
    """Logistic regression on features as they are.

    Standardised, those that hardly vary would get huge weights, which do harm once the backbone trains.
    """
    return e, linear_probe("lbfgs", standardize=False)
