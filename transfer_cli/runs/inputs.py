"""Where a network that trains begins: at the pixels, or behind a frozen prefix whose activations are known."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from transfer_cli.data.batches import WHOLE, Batch, Epochs, Shard, batch_of, of_visit
from transfer_cli.data.reading.listing import Indices
from transfer_cli.engine.devices.device import ActivationsToDevice, ToDevice
from transfer_cli.engine.mixed_batches import MixedEpochs, MixedToDevice, mixes
from transfer_cli.engine.steps.ahead import gathered
from transfer_cli.runs.materials import Materials
from transfer_cli.runs.views import SplitActivations


class Inputs(Protocol):
    """Batches for a network; each says at which stage it enters."""

    @property
    def to_device(self) -> ToDevice:
        """Batches of the host to the device."""
        ...

    def compute(self) -> None:
        """Compute what must be there before the first batch; Stopped where a signal asks for an end."""
        ...

    def shuffled(self, batch_size: int, shard: Shard = WHOLE) -> Epochs:
        """The training samples, epoch by epoch; of each step what is in a shard."""
        ...

    def ordered(self, split: str, batch_size: int, shard: Shard = WHOLE) -> Iterable[Batch]:
        """The samples of a split in data set order, as evaluation sees them; the batches of a shard."""
        ...


@dataclass(frozen=True)
class PixelInputs:
    """From the pixels: the whole network runs."""

    materials: Materials

    def compute(self) -> None:
        """Pixels are there already."""

    @property
    def to_device(self) -> ToDevice:
        """Normalised, and mixed where the recipe mixes images."""
        m = self.materials
        return MixedToDevice(m.to_device, m.task.width) if mixes(m.augment) else m.to_device

    def shuffled(self, batch_size: int, shard: Shard = WHOLE) -> Epochs:
        """Views of the training images."""
        m, batches = self.materials, self.materials.shuffled(batch_size, shard)
        if not mixes(m.augment):
            return batches
        return MixedEpochs(batches, m.augment, m.experiment.seed, m.preprocessing.crop_pixels)

    def ordered(self, split: str, batch_size: int, shard: Shard = WHOLE) -> Iterable[Batch]:
        """The pixels of evaluation."""
        return self.materials.ordered(split, batch_size, shard=shard)


@dataclass(frozen=True)
class ActivationInputs:
    """From the activations of a frozen prefix: only the rest of the network, from stage number `stage` on, runs."""

    materials: Materials
    activations: SplitActivations
    stage: int

    def compute(self) -> None:
        """Fill what the cache lacks."""
        self.activations.compute()

    @property
    def to_device(self) -> ToDevice:
        """As they are."""
        return ActivationsToDevice(self.materials.device)

    def shuffled(self, batch_size: int, shard: Shard = WHOLE) -> Epochs:
        """Activations of the same views in the same order as epochs of pixels."""
        return ActivationEpochs(self, batch_size, shard)

    def ordered(self, split: str, batch_size: int, shard: Shard = WHOLE) -> Iterable[Batch]:
        """Activations of the pixels of evaluation."""
        count = len(self.materials.images.splits[split])
        for first in shard.mine(range(0, count, batch_size)):
            yield self.batch(split, None, np.arange(first, min(first + batch_size, count)))

    def batch(self, split: str, view: int | None, positions: Indices) -> Batch:
        """Samples by their positions in a split."""
        images = self.materials.images
        indices = images.splits[split][positions]
        rows = self.activations.of(split, view).rows(positions)
        return replace(batch_of(images, rows, indices), stage=self.stage)


class ActivationEpochs:
    """Shuffled batches of activations."""

    def __init__(self, inputs: ActivationInputs, batch_size: int, shard: Shard) -> None:
        self._inputs, self._batches = inputs, inputs.materials.shuffled(batch_size, shard)
        self.steps_per_epoch = self._batches.steps_per_epoch

    def epoch(self, epoch: int, start_step: int = 0) -> Iterator[Batch]:
        """The batches of an epoch from `start_step` on."""
        inputs, visits = self._inputs, self._batches.visits(epoch)
        view = inputs.activations.views.of_epoch(epoch)
        # Opened here, where a signal can end what is computed now.
        inputs.activations.of("train", view)

        def make(step: int) -> Batch:
            return of_visit(inputs.batch("train", view, visits[step].positions), visits[step])

        return gathered(make, range(start_step, len(visits)), inputs.materials.device)
