"""Outputs on their way to the host: from a GPU they are copied, and used, while it computes those of the next batch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from transfer_cli.data.batches import Batch


class _Copied(NamedTuple):
    labels: Tensor
    outputs: Tensor
    event: torch.cuda.Event

    def arrived(self) -> tuple[Tensor, Tensor]:
        self.event.synchronize()
        return self.labels, self.outputs


def on_host(found: Iterable[tuple[Batch, Tensor]], device: torch.device) -> Iterator[tuple[Tensor, Tensor]]:
    """Labels int64 [B] and outputs [B, ...] of each batch, in order; on a GPU one behind what it has been asked for.

    From a GPU they are in pinned memory, which the next ones take where nobody keeps it.
    """
    if device.type != "cuda":
        for batch, output in found:
            yield batch.labels.cpu(), output.cpu()
        return
    stream, waiting = torch.cuda.Stream(device), None
    for batch, output in found:
        stream.wait_stream(torch.cuda.current_stream(device))
        copied = _copied(batch.labels, output, stream)
        del batch, output
        if waiting is not None:
            yield waiting.arrived()
        waiting = copied
    if waiting is not None:
        yield waiting.arrived()


def _copied(labels: Tensor, outputs: Tensor, stream: torch.cuda.Stream) -> _Copied:
    """Copies that the stream makes, and what says that they have come."""
    with torch.cuda.stream(stream):
        return _Copied(_pinned_copy(labels, stream), _pinned_copy(outputs, stream), stream.record_event())


def _pinned_copy(tensor: Tensor, stream: torch.cuda.Stream) -> Tensor:
    tensor.record_stream(stream)
    return torch.empty_like(tensor, device="cpu", pin_memory=True).copy_(tensor, non_blocking=True)
