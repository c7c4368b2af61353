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

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from transfer_cli.cache import activations
from transfer_cli.cache.activations import Activations, RowsWriter
from transfer_cli.cache.digests import Digests
from transfer_cli.cache.entries import Cache
from transfer_cli.cache.entry import Key, digest
from transfer_cli.cache.kept_rows import KeptRows
from transfer_cli.cache.stripes import Striped
from transfer_cli.data.batches import Batch
from transfer_cli.engine.devices.device import Compute, ToDevice
from transfer_cli.engine.evaluation import Forward, output_of, outputs
from transfer_cli.engine.steps.behind import on_host
from transfer_cli.engine.stop import Stop
from transfer_cli.errors import StalledError
from transfer_cli.models.network import STEADY_ROWS, STEADY_THREADS
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
    form: Key
    """Of `key`, what does not depend on which samples these are."""
    samples: Callable[[], Digests]
    """What tells each sample, as it is seen in this view, from others: [count, W]."""
    some: Callable[[NDArray[np.int64], int], Iterable[Batch]]
    """The pixels of the samples at these positions, in batches of the given size."""


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

    def missing(self, part: SplitView) -> int:
        """How many images `of` would run the network on."""
        if self.cache.has(KIND, self.key(part)):
            return 0
        kept = self._kept(part, part.samples())
        return part.count if kept is None else kept.missing(range(part.count)).size

    def now(self, batch: Batch) -> Tensor:
        """Activations of one batch, computed now and kept nowhere."""
        self.images_computed += len(batch)
        return output_of(self.forward(), batch, self.compute, self.to_device)

    def key(self, part: SplitView) -> Key:
        """What its entry in the cache is found by."""
        return {**self.identity, **part.key, **self._numerics(), "view": part.view}

    def _numerics(self) -> Key:
        whole = {"whole": STEADY_ROWS} if self._on_cpu else {}
        return {**self.compute.numerics(), "batch_size": self.batch_size, **whole}

    @property
    def _on_cpu(self) -> bool:
        return self.compute.device.type == "cpu"

    @property
    def _shares(self) -> bool:
        """Whether rows may come from entries for other samples: they have the same bits there, or may differ in them.

        Not where rows depend on their batch and equal commands are to give equal bytes.
        """
        if self._on_cpu:
            return torch.get_num_threads() in STEADY_THREADS
        return not torch.are_deterministic_algorithms_enabled()

    def _kind(self, part: SplitView) -> str:
        """What rows have in common that differ by their samples alone."""
        return digest({**self.identity, **part.form, **self._numerics(), "view": part.view})

    def _kept(self, part: SplitView, samples: Digests) -> KeptRows | None:
        """What entries for other samples hold of this part; None where none has any of it."""
        if not self._shares:
            return None
        kind = self._kind(part)
        folders = self.cache.similar(KIND, lambda folder: activations.kind_of(folder) == kind)
        found = KeptRows(samples, folders, self.cache.is_usable)
        return found if found.missing(range(part.count)).size < part.count else None

    def _filled(self, part: SplitView, key: Key) -> Path:
        title = f"{part.split}: {self.identity['boundary']}" + ("" if part.view is None else f" of view {part.view}")
        size = STRIPE_BATCHES[self.compute.device.type] * self.batch_size
        samples = part.samples()
        writer, kept = RowsWriter(samples, self._kind(part) if self._shares else None), self._kept(part, samples)
        with self.count(title, part.count, "images") as bar:

            def make(number: int) -> Iterator[bytes]:
                rows = range(number * size, min((number + 1) * size, part.count))
                for output in self._stripe(part, rows, kept):
                    # Where all is copied nothing else looks.
                    self._check_stop()
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

    def _stripe(self, part: SplitView, rows: range, kept: KeptRows | None) -> Iterator[Tensor]:
        """The activations of some rows, batch by batch: copied where they are kept elsewhere, else computed."""
        missing = np.arange(rows.start, rows.stop) if kept is None else kept.missing(rows)
        computed = self._outputs(part.some(missing, self.batch_size))
        return computed if kept is None else kept.completed(rows, self.batch_size, computed)

    def _outputs(self, batches: Iterable[Batch]) -> Iterator[Tensor]:
        forward = self.forward()
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
