"""Evaluation: a network over batches, to scores summed on the device or to outputs on the host."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import zip_longest
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from transfer_cli.data.batches import Batch
from transfer_cli.engine.devices.device import Compute, ToDevice
from transfer_cli.engine.ranks.world import ALONE, World
from transfer_cli.engine.steps.ahead import on_device
from transfer_cli.engine.steps.behind import on_host
from transfer_cli.engine.steps.retrying import give_back, tried
from transfer_cli.engine.stop import Stop
from transfer_cli.engine.task import Task
from transfer_cli.errors import StalledError
from transfer_cli.methods.scores import Scores
from transfer_cli.models.network import Network, run_frozen

BATCH_SIZE = {"cpu": 64, "cuda": 256, "mps": 64}
"""Images that a network runs on at once where nothing is kept for a backward pass."""

Forward = Callable[[Tensor], Tensor]
"""Inputs [B, ...] on the device to outputs [B, ...]."""

Found = TypeVar("Found")


@dataclass(frozen=True)
class Turns:
    """How the ranks of a training share the batches of a split: one after another, `count` each or one less."""

    world: World
    count: int

    @classmethod
    def of(cls, world: World, images: int, batch_size: int) -> Turns:
        """For so many images."""
        return cls(world, -(-images // (batch_size * world.size)))


ONE = Turns(ALONE, 0)
"""Of one process, which has all batches."""


def evaluate(
    network: Network,
    batches: Iterable[Batch],
    task: Task,
    compute: Compute,
    to_device: ToDevice,
    stop: Stop,
    turns: Turns = ONE,
) -> Scores | None:
    """The scores of a network over all batches, each sample counted once; None if `stop` asked for an end.

    Sums stay on the device, which synchronises once, at the end. The network is in eval mode afterwards. `batches` are
    those of this rank; all ranks have the same scores, those that one would have.
    """
    network.eval()
    sums = task.sums(compute.device)
    for pair in _until_stopped(outputs(_logits_of(network), batches, compute, to_device), stop, turns):
        if pair is None:
            return None
        batch, output = pair
        sums.add(output, batch.labels)
    if turns.world.size > 1:
        sums.join(turns.world.gather(sums.part()))
    return sums.scores()


def predict(
    network: Network,
    batches: Iterable[Batch],
    compute: Compute,
    to_device: ToDevice,
    stop: Stop,
    turns: Turns = ONE,
) -> tuple[NDArray[np.float32], NDArray[np.int64]] | None:
    """Logits [N, K] float32 and labels [N] in the order of `batches`; None if `stop` asked for an end.

    `batches` are those of this rank; the first has the outputs of all, the others None.
    """
    network.eval()
    found = []
    made = on_host(outputs(_logits_of(network), batches, compute, to_device), compute.device)
    for pair in _until_stopped(made, stop, turns):
        if pair is None:
            return None
        labels, output = pair
        # Copies, so that a GPU has its pinned memory back for the next batch.
        found.append((output.float().numpy().copy(), labels.numpy().copy()))
    of_ranks = turns.world.gather_first(found)
    found = [one for turn in zip_longest(*of_ranks) for one in turn if one is not None]
    if not found:
        return None
    return np.concatenate([logits for logits, _ in found]), np.concatenate([labels for _, labels in found])


def _until_stopped(found: Iterator[Found], stop: Stop, turns: Turns) -> Iterator[Found | None]:
    """What is found, batch by batch; None where all ranks are to end.

    A rank with a batch less looks as often as the others.
    """
    looks = 0
    try:
        for pair in found:
            looks += 1
            if stop.agree():
                yield None
                return
            yield pair
    except StalledError:
        if not stop or turns.world.size > 1:
            raise
        yield None
        return
    if any(stop.agree() for _ in range(looks, turns.count)):
        yield None


def outputs(
    forward: Callable[[Batch], Forward], batches: Iterable[Batch], compute: Compute, to_device: ToDevice
) -> Iterator[tuple[Batch, Tensor]]:
    """Each batch, on the device, with the outputs of `forward` for it; nothing is kept for a backward pass.

    A GPU gets the next batch while it computes.
    """
    most = None
    for placed in on_device(batches, partial(_placed, compute, to_device), compute.device):
        with _without_gradients(compute):
            output, most = _in_parts(forward(placed), placed.inputs, most)
        yield placed, output


def output_of(forward: Forward, batch: Batch, compute: Compute, to_device: ToDevice) -> Tensor:
    """The outputs of `forward` for one batch, as `outputs` gives them."""
    placed = _placed(compute, to_device, batch)
    with _without_gradients(compute):
        return _in_parts(forward, placed.inputs, None)[0]


def _placed(compute: Compute, to_device: ToDevice, batch: Batch) -> Batch:
    with _without_gradients(compute):
        return to_device(batch)


@contextmanager
def _without_gradients(compute: Compute) -> Iterator[None]:
    with torch.inference_mode(), compute.autocast(), compute.products():
        yield


def _in_parts(forward: Forward, inputs: Tensor, most: int | None) -> tuple[Tensor, int | None]:
    """Outputs for `inputs`, at most so many at once, or fewer where memory runs out; and how many that was.

    Raises what ran out with one at a time.
    """
    while True:
        parts = inputs.split(most or len(inputs))
        if len(parts[0]) <= 1:
            return torch.cat([run_frozen(forward, part) for part in parts]), most
        found, _ = tried(partial(_each, forward, parts))
        if found is not None:
            return found[0] if len(found) == 1 else torch.cat(found), most
        give_back(inputs.device)
        most = -(-len(parts[0]) // 2)


def _each(forward: Forward, parts: Sequence[Tensor]) -> list[Tensor]:
    return [run_frozen(forward, part) for part in parts]


def _logits_of(network: Network) -> Callable[[Batch], Forward]:
    """Logits [B, K], from the stage that a batch enters at."""
    return lambda batch: network if batch.stage == 0 else partial(network.forward_from, batch.stage)
