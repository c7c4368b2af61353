"""What a step spends its time on: told by the loop, phase by phase, to whoever looks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Literal, Protocol

from transfer_cli.data.batches import Batch

Phase = Literal["data", "forward", "backward", "optimizer", "waiting", "other"]
"""Waiting: the host, for the device to be done with what it has been asked for."""


class Clock(Protocol):
    """Who looks at the phases of each step. One within another is counted once, as the inner one."""

    def __call__(self, phase: Phase) -> AbstractContextManager[None]:
        """Within, the step is in this phase."""
        ...

    def batches(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        """The batches of an epoch, for which a step waits in its phase `data`."""
        ...

    def step(self) -> None:
        """A step is done."""
        ...


_NOTHING: AbstractContextManager[None] = nullcontext()


class NoClock:
    """Nobody looks."""

    def __call__(self, phase: Phase) -> AbstractContextManager[None]:
        """Nothing."""
        return _NOTHING

    def batches(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        """As they are."""
        return batches

    def step(self) -> None:
        """Nothing."""
