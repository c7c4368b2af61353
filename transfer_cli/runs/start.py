"""What a training in the loop begins with, once all that comes before its first step is done."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from transfer_cli.engine.strategy import Strategy
from transfer_cli.methods.scores import Scores


@dataclass(frozen=True)
class Start:
    """A strategy before its first step."""

    strategy: Strategy
    val: Scores | None = None
    """On validation, with a head that was fitted first: epoch 0, a candidate for the best."""
    first_head: dict[str, Tensor] | None = None
    """The head that the first step starts from, by names in the module, where it is not that fitted one."""
