"""The frozen prefix: what a network's unchanging part makes of each (sample, view), computed once and kept.

Extract is a prefix that ends at the head, finetuning the last stage one that ends a stage earlier, a frozen teacher
one that ends at its output.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor

from transfer_cli.cache import activations
from transfer_cli.cache.activations import Activations
from transfer_cli.cache.entries import Cache
from transfer_cli.cache.entry import Key
from transfer_cli.data.batches import Batch
from transfer_cli.engine.device import Compute, ToDevice
from transfer_cli.engine.evaluation import Forward, outputs
from transfer_cli.engine.stop import Stop
from transfer_cli.records.progress import Count

KIND = "activations"


@dataclass(frozen=True)
class SplitView:
    """Some samples in one view: what a prefix is run on."""

    split: str
    view: int | None
    """None: the pixels of evaluation."""
    count: int
    key: Key
    """Content of the samples, and how their view is made."""
    batches: Callable[[int], Iterable[Batch]]
    """Their pixels in data set order, in batches of the given size."""


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

        Raises Stopped where a signal asked for an end, with nothing half written.
        """
        key = self._key(part)
        found = self.cache.get(KIND, key)
        if found is None:
            found = self.cache.fill(KIND, key, lambda folder: self._fill(folder, part))
        return activations.read(found)

    def is_cached(self, part: SplitView) -> bool:
        """Whether `of` would find this part without running the network."""
        return self.cache.has(KIND, self._key(part))

    def now(self, batch: Batch) -> Tensor:
        """Activations of one batch, computed now and kept nowhere."""
        self.images_computed += len(batch)
        forward = self.forward()
        return next(output for _, output in outputs(lambda _: forward, [batch], self.compute, self.to_device))

    def _key(self, part: SplitView) -> Key:
        numerics = {**self.compute.numerics(), "batch_size": self.batch_size}
        return {**self.identity, **part.key, **numerics, "view": part.view}

    def _fill(self, folder: Path, part: SplitView) -> None:
        activations.write(folder, self._rows(part))

    def _rows(self, part: SplitView) -> Iterator[Tensor]:
        title = f"{part.split}: {self.identity['boundary']}" + ("" if part.view is None else f" of view {part.view}")
        forward, batches = self.forward(), part.batches(self.batch_size)
        with self.count(title, part.count, "images") as bar:
            for batch, output in outputs(lambda _: forward, batches, self.compute, self.to_device):
                self.stop.check("while the frozen part ran; the same command starts this pass again")
                self.images_computed += len(batch)
                yield output
                bar.step(len(batch))
