"""When the next state of a training is due: never losing work, at a price that the user may choose."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from transfer_cli.config.durations import Interval


@dataclass
class Cadence:
    """States at intervals, counted from the last one that was saved, for whatever reason."""

    every: Interval
    clock: Callable[[], float] = time.monotonic
    """Seconds."""
    saved_at: float = field(init=False)
    is_due: bool = False
    """What was found at the last step, by all ranks of a training together."""
    saved_step: int | None = None
    """In all; None: of the first step that is asked about."""

    _looked_at: int | None = field(default=None, init=False)
    """The last epoch that was asked about."""

    def __post_init__(self) -> None:
        self.saved_at = self.clock()

    def is_due_within(self, step: int) -> bool:
        """Whether a state is due after `step` steps in all, for their number or the time."""
        if self.saved_step is None:
            self.saved_step = step - 1
        steps, seconds = self.every.steps, self.every.seconds
        return (steps is not None and step - self.saved_step >= steps) or (
            seconds is not None and self.clock() - self.saved_at >= seconds
        )

    def is_due_after(self, epoch: int) -> bool:
        """Whether one is due at the end of an evaluated epoch, counted from 1, for the number of epochs alone.

        Where epochs that nobody evaluates lie between, as soon as a multiple of that number has gone by.
        """
        before = epoch - 1 if self._looked_at is None else self._looked_at
        self._looked_at = epoch
        return self.every.epochs is not None and epoch // self.every.epochs > before // self.every.epochs

    def saved(self, step: int) -> None:
        """Count from here."""
        self.saved_step, self.saved_at, self.is_due = step, self.clock(), False
