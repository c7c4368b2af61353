"""The pretrained network of a run: which weights are meant, and the network that they are loaded into."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch

from transfer_cli.config.auto import AUTO
from transfer_cli.config.schema import Experiment, Model
from transfer_cli.engine.strategy import ParameterGroup
from transfer_cli.errors import UserError
from transfer_cli.models import backbones, weights
from transfer_cli.models.input_layer import RGB
from transfer_cli.models.network import Network
from transfer_cli.models.preprocessing import Preprocessing
from transfer_cli.models.published import SeenWeights, WeightsSource
from transfer_cli.models.staging import IN_PROCESS, SeenCuts
from transfer_cli.models.weights import LoadReport
from transfer_cli.records.terminal import Reporter


@dataclass(frozen=True)
class Pretrained:
    """Weights that are on this machine, and how they want their images."""

    model: Model
    source: WeightsSource
    preprocessing: Preprocessing
    seen: SeenCuts = field(default_factory=lambda: IN_PROCESS)
    """What is known of how networks are cut into stages."""

    def build(
        self,
        classes: int,
        seed: int,
        *,
        names: Sequence[str] | None = None,
        keep_head: bool = False,
        drop_path: float | None = None,
    ) -> tuple[Network, LoadReport]:
        """The network with a head for `classes` K; `keep_head`: the one that published weights bring.

        `names` are those of the classes, by which rows of a head are kept. `drop_path` is its stochastic depth; None is
        the model's own.
        """
        # The head starts the same whatever was drawn before it, so that a run can be repeated in any process.
        torch.manual_seed(seed)
        size = self.preprocessing.crop_pixels
        name, library = self.model.name, self.model.source
        network = backbones.build(
            name,
            library,
            classes,
            image_size=size,
            drop_path=drop_path,
            seen=self.seen,
            channels=self.preprocessing.channels,
        )
        report = weights.load(network, self.source, size, keep_head=keep_head, classes=names)
        torch.manual_seed(seed)
        return network, report


def find_weights(e: Experiment, seen: SeenWeights, reporter: Reporter) -> Pretrained:
    """The weights that `model.weights` means, downloaded if need be. Raises UserError where they cannot be had."""
    source = fetched(weights.resolve(e.model.name, e.model.source, e.model.weights, seen), reporter)
    source = with_channels(e, source, "model.weights", reporter)
    preprocessing = source.preprocessing if e.image_size == AUTO else source.preprocessing.at(e.image_size)
    fitted = preprocessing if e.image_fit == AUTO else preprocessing.fitted(e.image_fit)
    return Pretrained(e.model, source, with_fraction(e, fitted), seen.cuts)


def with_channels(e: Experiment, source: WeightsSource, key: str, reporter: Reporter) -> WeightsSource:
    """The same weights for images of the channels that the data set has; `key` names them.

    Raises UserError for those of a run on other channels than RGB.
    """
    own = source.preprocessing
    channels = RGB if e.dataset.channels is None else e.dataset.channels
    if own.channels == channels:
        return source
    if own.channels != RGB:
        raise UserError(
            f"{key}: {source.label} take images of {own.channels} channels, not {channels}; the weights of RGB alone "
            f"are fitted to others. dataset.channels={own.channels} is what this run was trained on."
        )
    if source.kind != "none":
        how = "those of RGB added up" if channels == 1 else f"those of RGB in turn, times 3/{channels}"
        mean = "their average" if channels == 1 else "theirs in turn"
        reporter.say(f"channels  {channels}: weights of the first convolution are {how}, mean and std {mean}")
    return replace(source, preprocessing=own.with_channels(channels))


def with_fraction(e: Experiment, preprocessing: Preprocessing) -> Preprocessing:
    """The same with the share of an image that `crop_fraction` says."""
    return preprocessing if e.crop_fraction == AUTO else preprocessing.showing(e.crop_fraction)


def fetched(source: WeightsSource, reporter: Reporter) -> WeightsSource:
    """The same weights with their file on this machine, after what is to be said of them.

    Raises UserError at once where they cannot be downloaded.
    """
    for note in source.notes:
        reporter.warn(note)
    if source.kind == "none" or source.location is not None:
        return source
    reporter.say(f"fetching {source.label}")
    return replace(source, location=weights.fetch(source))


def trainable_parameters(network: Network, groups: Sequence[ParameterGroup]) -> int:
    """The number of the network's parameters that ever train; what a loss learns besides is none of them."""
    own = {id(parameter) for parameter in network.parameters()}
    return sum(p.numel() for group in groups for p in group.parameters.values() if id(p) in own)


def parameter_counts(network: Network, *, trainable: bool = True) -> tuple[int, int]:
    """(all, trainable) numbers of parameters; of a network that is only run none train."""
    parameters = list(network.parameters())
    return sum(p.numel() for p in parameters), sum(p.numel() for p in parameters if p.requires_grad and trainable)
