"""What a state is made of: each owner gives its part to be saved, and takes it back."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from transfer_cli.engine import optimizers
from transfer_cli.engine.states import Part
from transfer_cli.methods.averaging import Average
from transfer_cli.records.recorder import Recorders


@dataclass(frozen=True)
class ModuleOwner:
    """A module's parameters and buffers in a state."""

    module: nn.Module

    def state(self) -> Part:
        """All of its tensors."""
        return Part(tensors=self.module.state_dict())

    def restore(self, part: Part) -> None:
        """Into the module."""
        self.module.load_state_dict(part.tensors)


@dataclass(frozen=True)
class OptimizerOwner:
    """An optimizer's moments and counters in a state."""

    optimizer: torch.optim.Optimizer

    def state(self) -> Part:
        """Tensors by parameter, and scalars."""
        tensors, scalars = optimizers.pack_state(self.optimizer)
        return Part(scalars, tensors)

    def restore(self, part: Part) -> None:
        """Bit for bit."""
        optimizers.unpack_state(self.optimizer, part.tensors, part.values)


@dataclass(frozen=True)
class AverageOwner:
    """The average of the weights in a state."""

    average: Average

    def state(self) -> Part:
        """All of its tensors."""
        return Part(tensors=self.average.tensors)

    def restore(self, part: Part) -> None:
        """Bit for bit."""
        self.average.load(part.tensors)


@dataclass(frozen=True)
class RandomOwner:
    """Torch's generators in a state: dropout and stochastic depth draw from them."""

    device: torch.device

    def state(self) -> Part:
        """Of the host, and of the device where it is a GPU."""
        generators = {"cpu": torch.get_rng_state()}
        if self.device.type == "cuda":
            generators["cuda"] = torch.cuda.get_rng_state(self.device)
        return Part(tensors=generators)

    def restore(self, part: Part) -> None:
        """The next draw is the one that came after the state was saved."""
        torch.set_rng_state(part.tensors["cpu"])
        if self.device.type == "cuda":
            torch.cuda.set_rng_state(part.tensors["cuda"], self.device)


@dataclass(frozen=True)
class RecordersOwner:
    """What the recorders of a run keep in a state. A resumed run makes them from it, so nothing is given back."""

    recorders: Recorders

    def state(self) -> Part:
        """By recorder."""
        return Part(self.recorders.state())

    def restore(self, part: Part) -> None:
        """They were made from it."""
