"""Teachers' outputs for each sample of a run: kept where views repeat, else computed with each batch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from transfer_cli.data.batches import WHOLE, Batch, Epochs, Shard
from transfer_cli.engine.devices.device import ToDevice, sent
from transfer_cli.engine.frozen import Frozen
from transfer_cli.engine.steps.ahead import gathered
from transfer_cli.methods.distill.contrast import Negatives
from transfer_cli.methods.distill.output_rows import Layout
from transfer_cli.records.terminal import Reporter
from transfer_cli.records.text import in_words
from transfer_cli.runs.inputs import PixelInputs
from transfer_cli.runs.materials import Materials
from transfer_cli.runs.views import SplitActivations, Views


@dataclass(frozen=True)
class TeacherOutputs:
    """One teacher's outputs, rows as `layout` says. `materials` are the student's images in the teacher's pixels."""

    materials: Materials
    frozen: Frozen
    layout: Layout
    rows: SplitActivations
    stored: bool
    same_pixels: bool
    """Whether the teacher takes the student's pixels, normalised its own way."""

    def compute(self) -> None:
        """Run the teacher on every view of the training samples whose outputs are not known yet."""
        if self.stored:
            for split, view in self.rows.views.all():
                if split == "train":
                    self.rows.of(split, view)

    def of_epoch(self, epoch: int, start_step: int, batch_size: int, shard: Shard) -> Callable[[Batch], Tensor]:
        """From each of the student's batches of an epoch, in order from `start_step` on, to outputs [B, width]."""
        if self.stored:
            rows, visits = self.rows.of_epoch(epoch), self.materials.shuffled(batch_size, shard).visits(epoch)
            steps = range(start_step, len(visits))
            found = gathered(lambda step: rows.rows(visits[step].positions), steps, self.materials.device)
            return lambda batch: next(found)
        if self.same_pixels:
            return self._now
        own = self.materials.shuffled(batch_size, shard).epoch(epoch, start_step)
        return lambda batch: self._now(next(own))

    def accuracy(self) -> float | None:
        """On validation; None without labelled images there."""
        images = self.materials.images
        labels = images.labels[images.splits["val"]]
        if len(labels) == 0:
            return None
        if self.stored:
            rows = self.rows.of("val", None).rows(np.arange(len(labels)))
        else:
            batches = self.materials.ordered("val", self.frozen.batch_size)
            rows = torch.cat([self._now(batch).cpu() for batch in batches])
        return float((self.layout.unpack(rows).logits.argmax(1).numpy() == labels).mean())

    def _now(self, batch: Batch) -> Tensor:
        # Copied out of inference mode: the student's backward pass keeps it.
        return torch.cat([self.frozen.now(part) for part in batch.split(self.frozen.batch_size)]).clone()


@dataclass(frozen=True)
class TaughtInputs:
    """The student's batches of pixels, each with the outputs of every teacher."""

    pixels: PixelInputs
    teachers: tuple[TeacherOutputs, ...]
    negatives: Negatives | None

    @property
    def precisions(self) -> list[str]:
        """At which each teacher computes."""
        return [one.frozen.compute.precision for one in self.teachers]

    @property
    def to_device(self) -> ToDevice:
        """As for pixels alone."""
        return self.pixels.to_device

    def compute(self) -> None:
        """Run the teachers where their outputs are kept and not known yet."""
        for one in self.teachers:
            one.compute()

    def shuffled(self, batch_size: int, shard: Shard = WHOLE) -> Epochs:
        """Views of the training images, with outputs for the same views."""
        return TaughtEpochs(self, batch_size, shard)

    def ordered(self, split: str, batch_size: int, shard: Shard = WHOLE) -> Iterable[Batch]:
        """The pixels of evaluation, which needs no teacher."""
        return self.pixels.ordered(split, batch_size, shard)


class TaughtEpochs:
    """Epochs of pixels whose batches carry teacher outputs."""

    def __init__(self, inputs: TaughtInputs, batch_size: int, shard: Shard) -> None:
        self._inputs, self._batch_size, self._shard = inputs, batch_size, shard
        self._batches: Epochs = inputs.pixels.shuffled(batch_size, shard)
        self.steps_per_epoch = self._batches.steps_per_epoch

    def epoch(self, epoch: int, start_step: int = 0) -> Iterator[Batch]:
        """The batches of an epoch from `start_step` on."""
        inputs, device = self._inputs, self._inputs.pixels.materials.device
        outputs = [one.of_epoch(epoch, start_step, self._batch_size, self._shard) for one in inputs.teachers]
        for batch in self._batches.epoch(epoch, start_step):
            rows = [of_batch(batch) for of_batch in outputs]
            if any(one.device != rows[0].device for one in rows):
                rows = [sent(one, device) for one in rows]
            found = inputs.negatives
            negatives = None if found is None else found(batch.indices.numpy(), epoch)
            yield replace(batch, teacher=rows[0] if len(rows) == 1 else torch.cat(rows, dim=1), negatives=negatives)


def choose_stored(
    frozen: Frozen, layout: Layout, m: Materials, wanted: Literal["auto"] | bool, reporter: Reporter
) -> bool:
    """Whether outputs are kept, said in a line."""
    if wanted is False:
        reporter.say("teacher   it runs in every epoch: strategy.teacher.cache=false")
        return False
    views = Views(m)
    if not views.repeat:
        if wanted is True:
            reporter.warn(
                "strategy.teacher.cache=true: nothing to keep, a view never comes again; say augment.views=<K>"
            )
        reporter.say("teacher   it runs in every epoch: a view never comes again; augment.views=<K> lets them repeat")
        return False
    splits = [views.split(split, view) for split, view in views.all()]
    size, limit = sum(one.count for one in splits) * layout.width * 4, m.machine.cache.max_bytes
    if wanted == "auto" and size > limit:
        over = f"its outputs would take {in_words(size)}, over cache_size ({in_words(limit)})"
        reporter.say(f"teacher   it runs in every epoch: {over}")
        return False
    missing = sum(frozen.missing(one) for one in splits)
    reporter.say(f"teacher   its outputs are kept, {in_words(size)}: it runs on {missing:,} images")
    return True
