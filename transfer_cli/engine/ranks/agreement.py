"""Signals that reach some ranks, or each at another moment: all end at the same step."""

from __future__ import annotations

from typing import Any

import torch
from torch import distributed as dist

from transfer_cli.engine.ranks.world import World
from transfer_cli.engine.stop import Stop


class AgreedStop(Stop):
    """What all ranks know of each other's signals. Each look sends what is asked for here, and reads the look before.

    So nobody waits for an answer, and all take the same number of steps.
    """

    def __init__(self, own: Stop) -> None:
        super().__init__()
        self._own = own
        # The exit code that is asked for, and whether a state is due.
        self._message = torch.zeros(2, dtype=torch.int64)
        self._sent: Any = None

    def agree(self, due: bool = False) -> bool:
        """To be called by all ranks, equally often."""
        was_due = self.due
        self.due = False
        if self._sent is not None:
            self._sent.wait()
            code, one_is_due = self._message.tolist()
            # What was under way while a state was saved asked for that one.
            self.code, self.due = code or None, bool(one_is_due) and not was_due
        self._message.copy_(torch.tensor([self._own.code or 0, int(due)]))
        self._sent = dist.all_reduce(self._message, dist.ReduceOp.MAX, async_op=True)
        return bool(self)


def agreed(stop: Stop, world: World) -> Stop:
    """The stop of all ranks; of one process its own."""
    return stop if world.size == 1 else AgreedStop(stop)
