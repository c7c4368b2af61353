"""Signals that reach some ranks, or each at another moment: all end at the same step."""

from __future__ import annotations

from typing import Any

import torch
from torch import distributed as dist

from transfer_cli.engine.stop import Stop
from transfer_cli.engine.world import World


class AgreedStop(Stop):
    """What all ranks know of each other's signals. Each look sends what is asked for here, and reads the look before.

    So nobody waits for an answer, and all take the same number of steps.
    """

    def __init__(self, own: Stop) -> None:
        super().__init__()
        self._own = own
        self._message = torch.zeros((), dtype=torch.int64)
        self._sent: Any = None

    def agree(self) -> bool:
        """To be called by all ranks, equally often."""
        if self._sent is not None:
            self._sent.wait()
            self.code = int(self._message) or None
        self._message.fill_(self._own.code or 0)
        self._sent = dist.all_reduce(self._message, dist.ReduceOp.MAX, async_op=True)
        return bool(self)


def agreed(stop: Stop, world: World) -> Stop:
    """The stop of all ranks; of one process its own."""
    return stop if world.size == 1 else AgreedStop(stop)
