"""Numbers of a step on a GPU, read some steps later: the host never waits for the step that it has just asked for."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Generic, NamedTuple, TypeVar

import torch
from torch import Tensor

About = TypeVar("About")

DELAY = 4
"""Steps that the host may be ahead of the device."""


class _Waiting(NamedTuple, Generic[About]):
    values: Tensor
    event: torch.cuda.Event | None
    about: About


class Readings(Generic[About]):
    """The last few readings, each `values` float32 [n] and what it is about, in a ring of pinned memory."""

    def __init__(self, device: torch.device, delay: int = DELAY) -> None:
        self._device, self._delay = device, delay
        self._waiting: deque[_Waiting[About]] = deque()
        self._slots: list[Tensor] = []
        self._next = 0

    def put(self, values: Tensor, about: About) -> None:
        """Copy a reading to the host when the device has come so far."""
        slot = self._slot(values)
        slot.copy_(values, non_blocking=True)
        event = None
        if self._device.type == "cuda":
            event = torch.cuda.Event()
            event.record()
        self._waiting.append(_Waiting(slot, event, about))

    def due(self) -> Iterator[tuple[list[float], About]]:
        """Those that are more steps old than the host may be ahead, oldest first."""
        while len(self._waiting) > self._delay:
            yield self._read()

    def all(self) -> Iterator[tuple[list[float], About]]:
        """All that are left, oldest first; the host waits for the device."""
        while self._waiting:
            yield self._read()

    def _read(self) -> tuple[list[float], About]:
        found = self._waiting.popleft()
        if found.event is not None:
            found.event.synchronize()
        values: list[float] = found.values.tolist()
        return values, found.about

    def _slot(self, values: Tensor) -> Tensor:
        """A place on the host whose last reading has been read: one more than can wait at once."""
        if not self._slots:
            empty = torch.zeros(self._delay + 1, *values.shape)
            pinned = empty.pin_memory() if self._device.type == "cuda" else empty
            self._slots = list(pinned.unbind())
        slot = self._slots[self._next]
        self._next = (self._next + 1) % len(self._slots)
        return slot
