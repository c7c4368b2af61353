"""Where a network that trains begins: at the pixels, or behind a frozen prefix whose activations are known."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from torch import Tensor

from transfer_cli.data.batches import Batch, Epochs, batch_of
from transfer_cli.data.reading.listing import Indices
from transfer_cli.engine.device import Place, PlaceActivations
from transfer_cli.engine.mixed import MixedEpochs, PlaceMixed, mixes
from transfer_cli.models.network import Network
from transfer_cli.runs.materials import Materials
from transfer_cli.runs.views import Rows


class Inputs(Protocol):
    """Batches as they enter the network at stage number `start`."""

    @property
    def start(self) -> int:
        """The number of the stage."""
        ...

    @property
    def place(self) -> Place:
        """Batches of the host to the device."""
        ...

    def compute(self) -> None:
        """Make what must be there before the first batch; Stopped where a signal asks for an end."""
        ...

    def shuffled(self, batch_size: int) -> Epochs:
        """The training samples, epoch by epoch."""
        ...

    def ordered(self, split: str, batch_size: int) -> Iterable[Batch]:
        """The samples of a split in data set order, as evaluation sees them."""
        ...


@dataclass(frozen=True)
class PixelInputs:
    """From the pixels: the whole network runs."""

    materials: Materials
    start: int = 0

    def compute(self) -> None:
        """See Inputs."""

    @property
    def place(self) -> Place:
        """See Inputs."""
        m = self.materials
        return PlaceMixed(m.place, len(m.images.classes)) if mixes(m.augment) else m.place

    def shuffled(self, batch_size: int) -> Epochs:
        """See Inputs."""
        m, batches = self.materials, self.materials.shuffled(batch_size)
        if not mixes(m.augment):
            return batches
        return MixedEpochs(batches, m.augment, m.experiment.seed, m.preprocessing.crop_pixels)

    def ordered(self, split: str, batch_size: int) -> Iterable[Batch]:
        """See Inputs."""
        return self.materials.ordered(split, batch_size)


@dataclass(frozen=True)
class ActivationInputs:
    """From what a frozen prefix makes of the pixels: only the rest of the network runs."""

    materials: Materials
    rows: Rows
    start: int

    def compute(self) -> None:
        """See Inputs."""
        self.rows.compute()

    @property
    def place(self) -> Place:
        """See Inputs."""
        return PlaceActivations(self.materials.device)

    def shuffled(self, batch_size: int) -> Epochs:
        """See Inputs."""
        return ActivationEpochs(self, batch_size)

    def ordered(self, split: str, batch_size: int) -> Iterable[Batch]:
        """See Inputs."""
        count = len(self.materials.images.splits[split])
        for first in range(0, count, batch_size):
            yield self.batch(split, None, np.arange(first, min(first + batch_size, count)))

    def batch(self, split: str, view: int | None, positions: Indices) -> Batch:
        """Samples by their positions in a split."""
        images = self.materials.images
        indices = images.splits[split][positions]
        rows = self.rows.of(split, view).rows(positions)
        return batch_of(images, rows, indices)


class ActivationEpochs:
    """The same samples in the same order as epochs of pixels."""

    def __init__(self, inputs: ActivationInputs, batch_size: int) -> None:
        self._inputs, self._batches = inputs, inputs.materials.shuffled(batch_size)
        self.steps_per_epoch = self._batches.steps_per_epoch

    def epoch(self, epoch: int, start_step: int = 0) -> Iterator[Batch]:
        """See Epochs."""
        view = self._inputs.rows.parts.view(epoch)
        for positions in self._batches.visits(epoch)[start_step:]:
            yield self._inputs.batch("train", view, positions)


def forward_from(network: Network, start: int) -> Callable[[Tensor], Tensor]:
    """Logits [B, K] of inputs that enter at stage number `start`."""
    return network if start == 0 else lambda inputs: network.forward_from(start, inputs)
