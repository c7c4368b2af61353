"""The frozen prefix: what a network's unchanging part makes of each (sample, view), computed once and kept.

Extract is a prefix that ends at the head, finetuning the last stage one that ends a stage earlier, a frozen teacher
one that ends at its output.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor

from transfer_cli.cache import activations
from transfer_cli.cache.activations import Activations, RowsWriter
from transfer_cli.cache.entries import Cache
from transfer_cli.cache.entry import Key
from transfer_cli.cache.stripes import Striped
from transfer_cli.data.batches import Batch
from transfer_cli.engine.devices.device import Compute, ToDevice
from transfer_cli.engine.evaluation import Forward, output_of, outputs
from transfer_cli.engine.steps.behind import on_host
from transfer_cli.engine.stop import Stop
from transfer_cli.errors import StalledError
from transfer_cli.records.progress import Count

KIND = "activations"
STRIPE_BATCHES = {"cpu": 8, "cuda": 32, "mps": 8}
"""Batches that a process computes before it looks what others have done."""
_POLL_SECONDS = 0.05


@dataclass(frozen=True)
class SplitView:
    """Some samples in one view: what a prefix is run on."""

    split: str
    view: int | None
    """None: the pixels of evaluation."""
    count: int
    key: Key
    """Content of the samples, and how their view is made."""
    batches: Callable[[int, range], Iterable[Batch]]
    """Their pixels in data set order: of the batches of the given size, those with these numbers."""


@dataclass
class Frozen:
    """One frozen prefix on one device. `identity` names its weights, architecture, boundary and image pipeline."""

    identity: Key
    forward: Callable[[], Forward]
    """Builds the network on first need and gives its frozen part, images [B, 3, H, W] to activations [B, ...]."""
    compute: Compute
    to_device: ToDevice
    batch_size: int
    cache: Cache
    count: Callable[[str, int, str], AbstractContextManager[Count]]
    """From what is done, how many and what things, to a context that is told of each batch."""
    stop: Stop
    images_computed: int = field(default=0, init=False)

    def of(self, part: SplitView) -> Activations:
        """Activations of a part, one row a sample in its order: from the cache, filled now where they are missing.

        All processes that want the same fill it together. Raises Stopped where a signal asked for an end; what is done
        until then is kept.
        """
        key = self.key(part)
        found = self.cache.get(KIND, key)
        return activations.read(self._filled(part, key) if found is None else found)

    def is_cached(self, part: SplitView) -> bool:
        """Whether `of` would find this part without running the network."""
        return self.cache.has(KIND, self.key(part))

    def now(self, batch: Batch) -> Tensor:
        """Activations of one batch, computed now and kept nowhere."""
        self.images_computed += len(batch)
        return output_of(self.forward(), batch, self.compute, self.to_device)

    def key(self, part: SplitView) -> Key:
        """What its entry in the cache is found by."""
        numerics = {**self.compute.numerics(), "batch_size": self.batch_size}
        return {**self.identity, **part.key, **numerics, "view": part.view}

    def _filled(self, part: SplitView, key: Key) -> Path:
        title = f"{part.split}: {self.identity['boundary']}" + ("" if part.view is None else f" of view {part.view}")
        batches = STRIPE_BATCHES[self.compute.device.type]
        steps, size = range(-(-part.count // self.batch_size)), batches * self.batch_size
        writer = RowsWriter(part.count)
        with self.count(title, part.count, "images") as bar:

            def make(number: int) -> Iterator[bytes]:
                for output in self._outputs(part, steps[number * batches : (number + 1) * batches]):
                    yield writer.bytes_of(output)
                    bar.step(len(output))

            striped = Striped(
                file=activations.ROWS,
                count=-(-part.count // size),
                form=str(size),
                make=make,
                facts=lambda: writer.form,
                finish=writer.finish,
                others_did=lambda number: bar.step(min(size, part.count - number * size)),
                wait=self._wait,
            )
            return self.cache.fill_together(KIND, key, striped)

    def _outputs(self, part: SplitView, steps: range) -> Iterator[Tensor]:
        forward, batches = self.forward(), part.batches(self.batch_size, steps)
        try:
            made = outputs(lambda _: forward, batches, self.compute, self.to_device)
            for _, output in on_host(made, self.compute.device):
                self._check_stop()
                self.images_computed += len(output)
                yield output
        except StalledError:
            self._check_stop()
            raise

    def _wait(self) -> None:
        """For others, who compute what is left."""
        self._check_stop()
        time.sleep(_POLL_SECONDS)

    def _check_stop(self) -> None:
        self.stop.check("while the frozen part ran; the same command goes on from there")
