"""Evaluation: a network over batches, to scores summed on the device or to outputs on the host."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from transfer_cli.data.batches import Batch
from transfer_cli.engine.device import Compute, ToDevice
from transfer_cli.engine.stop import Stop
from transfer_cli.engine.task import Task
from transfer_cli.methods.scores import Scores
from transfer_cli.models.network import Network, run_frozen

BATCH_SIZE = {"cpu": 64, "cuda": 256, "mps": 64}
"""Images that a network runs on at once where nothing is kept for a backward pass."""

Forward = Callable[[Tensor], Tensor]
"""Inputs [B, ...] on the device to outputs [B, ...]."""


def evaluate(
    network: Network, batches: Iterable[Batch], task: Task, compute: Compute, to_device: ToDevice, stop: Stop
) -> Scores | None:
    """The scores of a network over all batches, each sample counted once; None if `stop` asked for an end.

    Sums stay on the device, which synchronises once, at the end. The network is in eval mode afterwards.
    """
    network.eval()
    sums = task.sums(compute.device)
    for batch, output in outputs(_logits_of(network), batches, compute, to_device):
        if stop:
            return None
        sums.add(output, batch.labels)
    return sums.scores()


def predict(
    network: Network, batches: Iterable[Batch], compute: Compute, to_device: ToDevice, stop: Stop
) -> tuple[NDArray[np.float32], NDArray[np.int64]] | None:
    """Logits [N, K] float32 and labels [N] in the order of `batches`; None if `stop` asked for an end."""
    network.eval()
    logits, labels = [], []
    for batch, output in outputs(_logits_of(network), batches, compute, to_device):
        if stop:
            return None
        logits.append(output.float().cpu().numpy())
        labels.append(batch.labels.cpu().numpy())
    return np.concatenate(logits), np.concatenate(labels)


def outputs(
    forward: Callable[[Batch], Forward], batches: Iterable[Batch], compute: Compute, to_device: ToDevice
) -> Iterator[tuple[Batch, Tensor]]:
    """Each batch, on the device, with the outputs of `forward` for it; nothing is kept for a backward pass."""
    for batch in batches:
        with torch.inference_mode(), compute.autocast():
            placed = to_device(batch)
            output = run_frozen(forward(placed), placed.inputs)
        yield placed, output


def _logits_of(network: Network) -> Callable[[Batch], Forward]:
    """Logits [B, K], from the stage that a batch enters at."""
    return lambda batch: network if batch.stage == 0 else partial(network.forward_from, batch.stage)
