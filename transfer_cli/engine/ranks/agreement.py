"""Signals that reach some ranks, or each at another moment: all end at the same step."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType
from typing import Any

import torch
from torch import distributed as dist

from transfer_cli.engine.ranks.world import World
from transfer_cli.engine.stop import Stop

_LOOK_SECONDS = 0.1


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


class Following(Stop):
    """Of a rank that is not the first, while each works by itself: what is asked for here, the first is told.

    This rank goes on until that one ends, or another is lost.
    """

    def __init__(self, own: Stop, world: World) -> None:
        super().__init__()
        self._own, self._look = own, _seldom(world.check_first)
        self._world, self._told = world, False

    def agree(self, due: bool = False) -> bool:
        """Never: the first ends for all."""
        return False

    def check(self, where: str) -> None:
        """Raises FirstRankEnded or LostRankError."""
        if self._own.code is not None and not self._told:
            self._told = True
            self._world.ask(self._own.code)
        self._look()

    def __enter__(self) -> Following:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Signals are its own stop's."""


def first_stop(world: World) -> Stop:
    """That of the first rank, or of a process alone: it ends as well for what others are asked to."""
    return Stop() if world.size == 1 else Stop(_seldom(world.asked))


def _seldom(look: Callable[[], int | None]) -> Callable[[], int | None]:
    """A look at what other processes say, which takes a while: a few times a second, and None in between."""
    looked = -_LOOK_SECONDS

    def now_and_then() -> int | None:
        nonlocal looked
        if time.monotonic() - looked < _LOOK_SECONDS:
            return None
        looked = time.monotonic()
        return look()

    return now_and_then
