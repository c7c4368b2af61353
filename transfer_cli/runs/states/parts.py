"""What is in a saved state of a training: each part by its name, and who gives it and takes it back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from transfer_cli.engine import optimizers, state_files
from transfer_cli.engine.checkpoints import Owner
from transfer_cli.engine.devices.device import DTYPES, Compute
from transfer_cli.engine.loop import Trainer
from transfer_cli.engine.progress import Progress
from transfer_cli.engine.state_files import Part, State
from transfer_cli.errors import RunError
from transfer_cli.methods.adapters import merge
from transfer_cli.methods.averaging import Average
from transfer_cli.models.network import Network
from transfer_cli.models.shards import gathered
from transfer_cli.models.tensors import load_into
from transfer_cli.records.events import Recorders

NETWORK, AVERAGE = "network", "average"
"""Parts that hold weights: those that train, and their average where one is kept."""
COMPUTE, RECORDERS = "compute", "recorders"
_REMOVE = "Remove it to go on from the state before it."


def owners(
    network: Network,
    trainer: Trainer,
    progress: Progress,
    compute: Compute,
    recorders: Recorders,
    learnt: Mapping[str, nn.Module],
) -> dict[str, Owner]:
    """All parts of a state by name; `learnt` are modules that train besides the network."""
    average = trainer.average
    return {
        NETWORK: ModuleOwner(network.module),
        "optimizer": OptimizerOwner(trainer.optimizer),
        "trainer": trainer,
        "progress": progress,
        COMPUTE: compute,
        RECORDERS: RecordersOwner(recorders),
        **{name: ModuleOwner(module) for name, module in learnt.items()},
        **({AVERAGE: AverageOwner(average)} if average else {}),
    }


def saved_precision(state: State) -> str:
    """At which precision the run computed: a resumed one does not choose again."""
    precision = _values(state, COMPUTE).get("precision")
    if precision not in DTYPES:
        raise RunError(f"{state.path}: it does not say at which precision the run computed. {_REMOVE}")
    return str(precision)


def saved_recorders(state: State | None) -> dict[str, Any]:
    """What each recorder needs to go on, by the name of its class; of a new run nothing."""
    if state is None:
        return {}
    values = _values(state, RECORDERS)
    if not all(isinstance(saved, dict) for saved in values.values()):
        raise RunError(f"{state.path}: what it says of logs cannot be read. {_REMOVE}")
    return values


def _values(state: State, part: str) -> dict[str, Any]:
    if part not in state.parts:
        raise RunError(f"{state.path}: it lacks {part}. {_REMOVE}")
    return state.parts[part].values


@dataclass(frozen=True)
class ModuleOwner:
    """A module's parameters and buffers in a state."""

    module: nn.Module

    def state(self) -> Part:
        """All of its tensors."""
        return Part(tensors=gathered(self.module.state_dict()))

    def restore(self, part: Part) -> None:
        """All of its tensors come back."""
        load_into(self.module, part.tensors)


@dataclass(frozen=True)
class OptimizerOwner:
    """An optimizer's moments and counters in a state."""

    optimizer: torch.optim.Optimizer

    def state(self) -> Part:
        """Tensors by parameter, and scalars."""
        tensors, scalars = optimizers.pack_state(self.optimizer)
        return Part(scalars, gathered(tensors))

    def restore(self, part: Part) -> None:
        """Bit for bit."""
        optimizers.unpack_state(self.optimizer, part.tensors, part.values)


@dataclass(frozen=True)
class AverageOwner:
    """The average of the weights in a state."""

    average: Average

    def state(self) -> Part:
        """All of its tensors."""
        return Part(tensors=gathered(self.average.tensors))

    def restore(self, part: Part) -> None:
        """Bit for bit."""
        self.average.load(part.tensors)


@dataclass(frozen=True)
class RecordersOwner:
    """What the recorders of a run keep in a state. A resumed run makes them from it, so nothing is given back."""

    recorders: Recorders

    def state(self) -> Part:
        """By recorder."""
        return Part(self.recorders.state())

    def restore(self, part: Part) -> None:
        """They were made from it."""


def load_best(network: Network, state: Path, part: str) -> None:
    """The weights of a state, adapters merged into them: the plain architecture again."""
    problem = state_files.damage(state)
    if problem is not None:
        raise RunError(f"the best weights cannot be read back: {state}: {problem}.")
    load_into(network.module, state_files.load_tensors(state, part))
    merge(network.module)
