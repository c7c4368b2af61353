"""What comes before the first step of finetuning: the head that is fitted first, and the one that training starts from.

"Fine-tuning can distort pretrained features and underperform out-of-distribution" (Kumar 2022, arXiv 2202.10054).
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from transfer_cli.config.auto import chosen
from transfer_cli.config.finetune import HEAD_FIRST_EPOCHS, Finetune, head_first_epochs
from transfer_cli.data.reading.image_set import ImageSet
from transfer_cli.engine.stop import Stop
from transfer_cli.models.heads import HeadSpec, attach
from transfer_cli.models.network import Network
from transfer_cli.models.weights import LoadReport
from transfer_cli.records.terminal import Reporter
from transfer_cli.runs.evaluation import Evaluation
from transfer_cli.runs.finetune.channel_weights import channel_weights
from transfer_cli.runs.finetune.mixing import FrozenStart
from transfer_cli.runs.frozen.probe import fit_probe, put_head
from transfer_cli.runs.loop_job import LoopJob
from transfer_cli.runs.start import Start
from transfer_cli.strategies.extract import Fitted
from transfer_cli.strategies.finetune import Finetune as FinetuneStrategy
from transfer_cli.strategies.regularizers import ChosenRegularizers, Source
from transfer_cli.strategies.rules import PROBED_IMAGES
from transfer_cli.strategies.trainable import Trainable

NOT_LINEAR = "the head of this model is not one linear layer"


def keeps_probe(config: Finetune, network: Network, loaded: LoadReport, images: ImageSet, reporter: Reporter) -> bool:
    """Whether a fitted head is a candidate for the best epoch: as asked for, where one can be fitted."""
    obstacle = probe_obstacle(network, loaded, images)
    if config.keep_probe == "auto":
        return obstacle is None and len(images.splits["train"]) <= PROBED_IMAGES
    if config.keep_probe and obstacle is not None:
        reporter.warn(f"strategy.keep_probe=true: {obstacle}; no head is fitted")
    return config.keep_probe and obstacle is None


def first_head(
    config: Finetune, network: Network, loaded: LoadReport, images: ImageSet, reporter: Reporter
) -> Literal["zero", "probe", "model"]:
    """How the head starts: as asked for, where that can be. A head that came with the weights stays."""
    wanted: Literal["zero", "probe", "model"] = chosen(config.head_init)
    if wanted == "model" or loaded.head_kept:
        return "model"
    obstacle = None if network.has_features else NOT_LINEAR
    if wanted == "probe":
        obstacle = probe_obstacle(network, loaded, images)
    if obstacle is None:
        return wanted
    reporter.warn(f"strategy.head_init={wanted}: {obstacle}; the head starts as the model draws it")
    return "model"


def probe_obstacle(network: Network, loaded: LoadReport, images: ImageSet) -> str | None:
    """Why no head can be fitted to the network's frozen features by L-BFGS, or None."""
    if loaded.head_kept:
        return "the weights bring a head for these classes"
    if not network.has_features:
        return NOT_LINEAR
    if loaded.sha256 is None:
        return "random weights have no features worth fitting to"
    if not images.labelled("val"):
        return "there are no validation images to choose its penalty by"
    return None


def source_network(network: Network, classes: int) -> Network:
    """A copy of the network as it was pretrained, with a head that a fitted one can be put into."""
    source = copy.deepcopy(network)
    if not source.has_features or source.has_one_layer:
        return source
    return attach(source, HeadSpec("probe", source.feature_width), classes)


def fits_head(config: Finetune) -> bool:
    """Whether a head is fitted before the first step."""
    return config.head_init == "probe" or config.keep_probe is True or head_first_epochs(config) > 0


def with_first_head(network: Network, config: Finetune, loaded: LoadReport, classes: int) -> tuple[Network, HeadSpec]:
    """The network with the head that it begins with, and how that is built again."""
    if config.head_init == "zero":
        network.quiet_head(rows=loaded.new_rows)
    if not fits_head(config):
        return network, HeadSpec("linear", network.feature_width)
    drawn = network.linear_head()
    spec = HeadSpec("probe", network.feature_width)
    network = attach(network, spec, classes)
    if not head_first_epochs(config):
        head = network.module.get_submodule(network.classifier)
        head.load_state_dict({name: drawn.get(name, torch.zeros_like(own)) for name, own in head.state_dict().items()})
    return network, spec


@dataclass(frozen=True)
class BeforeTraining:
    """Fits a head where one is asked for (LP-FT, a probe), and completes what regularisers compare with."""

    config: Finetune
    training: Trainable
    regularizers: ChosenRegularizers
    source: Network | None
    """The network as it was pretrained, where a regulariser compares with it."""
    frozen_start: FrozenStart | None
    """What hears of the fitted head, where the trained weights are mixed with those before training."""

    def __call__(self, job: LoopJob, directory: Path | None, reporter: Reporter, stop: Stop) -> Start:
        """The strategy, complete, and the scores of the fitted head where none is in a state already."""
        fits = fits_head(self.config)
        first = _head_of(job.network) if fits and self._starts_elsewhere else None
        fitted = None
        if (job.state is None and fits) or self.source is not None:
            epochs = head_first_epochs(self.config) if fits else HEAD_FIRST_EPOCHS
            fitted = fit_probe(job.materials, job.network, epochs, job.compute, directory, reporter, stop)
        if self.frozen_start is not None:
            self.frozen_start.fitted = fitted
        strategy = self._strategy(job, fitted)
        if fitted is None or job.state is not None or not fits:
            return Start(strategy, first_head=first)
        put_head(job.network, fitted)
        strategy.train_mode(job.materials.plan.last_epoch)
        if first is None:
            _warn_of_batch_norm(job.network, reporter)
        evaluation = Evaluation(job.network, job.inputs, job.materials, job.compute, None, stop)
        val = evaluation.scores("val")
        # A state from here on would be one without a candidate.
        stop.check("while the first head was scored; the same command with resume=auto fits it again")
        return Start(strategy, val, first)

    @property
    def _starts_elsewhere(self) -> bool:
        """Whether training starts from another head than the fitted one, which is kept as a candidate alone."""
        return self.config.head_init != "probe" and not head_first_epochs(self.config)

    def _strategy(self, job: LoopJob, fitted: Fitted | None) -> FinetuneStrategy:
        m, compared = job.materials, None
        if self.source is not None and fitted is not None:
            put_head(self.source, fitted)
            weights = partial(channel_weights, self.source, job.inputs, job.compute)
            compared = Source(self.source, weights)
        labels = m.images.labels[m.images.splits["train"]]
        objective = m.task.objective(self.config, m.experiment.dataset, labels, m.device)
        return FinetuneStrategy(self.training, objective, self.regularizers.ready(self.training, compared))


def _head_of(network: Network) -> dict[str, Tensor]:
    """Copies of the head's tensors, by their names in the module."""
    path = network.classifier
    head = network.module.get_submodule(path)
    return {f"{path}.{name}": tensor.detach().clone() for name, tensor in head.state_dict().items()}


def _warn_of_batch_norm(network: Network, reporter: Reporter) -> None:
    if any(isinstance(layer, _BatchNorm) and layer.training for layer in network.modules()):
        reporter.warn(
            "the head was fitted to features under BatchNorm's stored statistics, and training uses those of batches, "
            "which may undo it: see strategy.batch_norm=frozen"
        )
