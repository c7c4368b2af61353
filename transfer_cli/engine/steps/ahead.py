"""Batches on their way to the device: on a GPU the next one is copied and normalised while this one trains."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import TypeVar

import torch
from torch import Tensor

from transfer_cli.data.batches import Batch
from transfer_cli.data.reading.workers import run_jobs
from transfer_cli.engine.devices.device import ToDevice
from transfer_cli.engine.steps.retrying import give_back, tried

Rows = TypeVar("Rows", Batch, Tensor)

_Placed = tuple[Batch, torch.cuda.Event]

SLOTS = 2
"""Batches that are on the device at once: one trains, one arrives."""


def on_device(batches: Iterable[Batch], to_device: ToDevice, device: torch.device) -> Iterator[Batch]:
    """Each batch as `to_device` makes it, in order; on a GPU one ahead of its use, on a stream of its own."""
    return _ahead(batches, to_device, device) if device.type == "cuda" else map(to_device, batches)


def pinned(batch: Batch) -> Batch:
    """The batch in memory that a GPU copies from while the host goes on, but for `indices`, which stay there."""
    return batch.moved(_pinned)


def gathered(make: Callable[[int], Rows], steps: range, device: torch.device) -> Iterator[Rows]:
    """make(step) for each step, in order: rows out of memory. For a GPU a thread gathers and pins them ahead."""
    if device.type != "cuda":
        return map(make, steps)

    def pinned_rows(step: int) -> Rows:
        found = make(step)
        return pinned(found) if isinstance(found, Batch) else _pinned(found)

    return run_jobs(pinned_rows, steps, 1, threads=True)


def _pinned(tensor: Tensor) -> Tensor:
    return tensor.pin_memory() if tensor.device.type == "cpu" and not tensor.is_pinned() else tensor


def _ahead(batches: Iterable[Batch], to_device: ToDevice, device: torch.device) -> Iterator[Batch]:
    """Copies run beside the kernels of the step before: the step waits for its own batch, and the host for neither."""
    stream = torch.cuda.Stream(device)
    waiting: list[_Placed] = []
    for batch in batches:
        sent = pinned(batch)
        placed, _ = tried(partial(_placed, sent, to_device, stream))
        if placed is None:
            # Once those before it have trained and are gone there may be room.
            while waiting:
                yield _arrived(*waiting.pop(0), device)
            give_back(device)
            placed = _placed(sent, to_device, stream)
        waiting.append(placed)
        del batch, sent, placed
        if len(waiting) == SLOTS:
            yield _arrived(*waiting.pop(0), device)
    if waiting:
        yield _arrived(*waiting.pop(0), device)


def _placed(batch: Batch, to_device: ToDevice, stream: torch.cuda.Stream) -> _Placed:
    """A pinned batch on its way, and what says that it has come."""
    with torch.cuda.stream(stream):
        # What is on the device already, such as views that were cut there, this stream reads as well.
        _keep_for(stream, batch)
        return to_device(batch), stream.record_event()


def _arrived(batch: Batch, event: torch.cuda.Event, device: torch.device) -> Batch:
    """The batch for the kernels that are asked for next, which wait for it."""
    training = torch.cuda.current_stream(device)
    training.wait_event(event)
    _keep_for(training, batch)
    return batch


def _keep_for(stream: torch.cuda.Stream, batch: Batch) -> None:
    """Nobody gets the memory of the batch before what this stream has been asked for so far is done."""

    def keep(tensor: Tensor) -> Tensor:
        if tensor.device.type == "cuda":
            tensor.record_stream(stream)
        return tensor

    batch.moved(keep)
