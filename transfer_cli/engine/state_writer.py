"""States that are written beside the training: their tensors are copied to the host without waiting for the device."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor

import torch
from torch import Tensor

from transfer_cli.models import shards


class StateWriter:
    """Writes one state after another, in a thread that a process waits for before it ends."""

    def __init__(self) -> None:
        self._threads: ThreadPoolExecutor | None = None
        self._written: Future[None] | None = None
        self.name: str | None = None
        """Of the state that is being written, until somebody has waited for it."""

    def begin(self, name: str, write: Callable[[], None]) -> None:
        """Write a state once the one before is there. Raises what that failed with."""
        self.finish()
        self._threads = self._threads or ThreadPoolExecutor(1, "states")
        self.name, self._written = name, self._threads.submit(write)

    def finish(self) -> None:
        """Wait until the last state is there. Raises what it failed with, once."""
        written, self._written = self._written, None
        try:
            if written is not None:
                written.result()
        finally:
            self.name = None


def on_host(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copies that stay as they are now: in pinned memory, there when the device has come so far.

    The device makes them between the step before and the next; the host goes on at once. What is pinned already was
    made to be kept.
    """
    return {name: _kept(tensor.detach()) for name, tensor in tensors.items()}


def _kept(tensor: Tensor) -> Tensor:
    if tensor.device.type == "cuda":
        return shards.on_host(tensor, wait=False)
    return tensor if tensor.is_pinned() else tensor.clone()


def arrival(devices: Iterable[torch.device]) -> Callable[[], None]:
    """What waits until all that was asked of these devices so far is done."""
    streams = [torch.cuda.current_stream(device) for device in devices if device.type == "cuda"]
    events = [stream.record_event() for stream in streams]

    def wait() -> None:
        for event in events:
            event.synchronize()

    return wait
