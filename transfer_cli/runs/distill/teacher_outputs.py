"""What teachers say about each sample of a run: kept where views repeat, else asked for the pixels of the moment."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from transfer_cli.data.batches import Batch, Epochs
from transfer_cli.engine.device import Place
from transfer_cli.engine.frozen import Frozen
from transfer_cli.methods.distill.contrast import Negatives
from transfer_cli.methods.distill.teacher_outputs import Layout
from transfer_cli.records.terminal import Reporter
from transfer_cli.records.text import in_words
from transfer_cli.runs.inputs import PixelInputs
from transfer_cli.runs.materials import Materials
from transfer_cli.runs.views import Parts, Rows
from transfer_cli.strategies.distill import ANSWERS, NEGATIVES


@dataclass(frozen=True)
class Answers:
    """One teacher's answers, rows as `layout` says. `materials` are the student's images in the teacher's pixels."""

    materials: Materials
    frozen: Frozen
    layout: Layout
    rows: Rows
    stored: bool
    same_pixels: bool
    """Whether the teacher takes the student's pixels, normalised its own way."""

    def compute(self) -> None:
        """Ask for every view of the training samples that is not known yet."""
        if self.stored:
            for split, view in self.rows.parts.wanted():
                if split == "train":
                    self.rows.of(split, view)

    def asked(self, epoch: int, start_step: int, batch_size: int) -> Callable[[Batch], Tensor]:
        """From each of the student's batches of an epoch, in order from `start_step` on, to answers [B, width]."""
        if self.stored:
            rows = self.rows.of_epoch(epoch)
            visits = iter(self.materials.shuffled(batch_size).visits(epoch)[start_step:])
            return lambda batch: rows.rows(next(visits))
        if self.same_pixels:
            return self._now
        own = self.materials.shuffled(batch_size).epoch(epoch, start_step)
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
            rows = torch.cat(
                [self._now(batch).cpu() for batch in self.materials.ordered("val", self.frozen.batch_size)]
            )
        return float((self.layout.unpack(rows).logits.argmax(1).numpy() == labels).mean())

    def _now(self, batch: Batch) -> Tensor:
        # Copied out of inference mode: the student's backward pass keeps it.
        return torch.cat([self.frozen.now(part) for part in batch.split(self.frozen.batch_size)]).clone()


@dataclass(frozen=True)
class TaughtInputs:
    """The student's batches of pixels, each with what every teacher says about it."""

    pixels: PixelInputs
    answers: tuple[Answers, ...]
    negatives: Negatives | None
    start: int = 0

    @property
    def place(self) -> Place:
        """See Inputs."""
        return self.pixels.place

    def compute(self) -> None:
        """See Inputs."""
        for one in self.answers:
            one.compute()

    def shuffled(self, batch_size: int) -> Epochs:
        """See Inputs."""
        return TaughtEpochs(self, batch_size)

    def ordered(self, split: str, batch_size: int) -> Iterable[Batch]:
        """See Inputs; evaluation asks no teacher."""
        return self.pixels.ordered(split, batch_size)


class TaughtEpochs:
    """Epochs of pixels whose batches carry answers."""

    def __init__(self, inputs: TaughtInputs, batch_size: int) -> None:
        self._inputs, self._batch_size = inputs, batch_size
        self._batches: Epochs = inputs.pixels.shuffled(batch_size)
        self.steps_per_epoch = self._batches.steps_per_epoch

    def epoch(self, epoch: int, start_step: int = 0) -> Iterator[Batch]:
        """See Epochs."""
        inputs, device = self._inputs, self._inputs.pixels.materials.device
        teachers = [one.asked(epoch, start_step, self._batch_size) for one in inputs.answers]
        for batch in self._batches.epoch(epoch, start_step):
            answers = [ask(batch).to(device, non_blocking=True) for ask in teachers]
            extras = {**batch.extras, ANSWERS: torch.cat(answers, dim=1)}
            if inputs.negatives is not None:
                extras[NEGATIVES] = inputs.negatives(batch.indices.numpy(), epoch)
            yield replace(batch, extras=extras)


def choose_stored(
    frozen: Frozen, layout: Layout, materials: Materials, wanted: Literal["auto"] | bool, reporter: Reporter
) -> bool:
    """Whether answers are kept, said in a line."""
    if wanted is False:
        reporter.say("answers   the teacher runs in every epoch: strategy.teacher.cache=false")
        return False
    parts = Parts(materials)
    if not parts.repeats:
        if wanted is True:
            reporter.warn(
                "strategy.teacher.cache=true: nothing to keep, a view never comes again; say augment.views=<K>"
            )
        reporter.say("answers   the teacher runs in every epoch: a view never comes again; augment.views=<K> lets them")
        return False
    wanted_parts = [parts.part(split, view) for split, view in parts.wanted()]
    size = sum(part.count for part in wanted_parts) * layout.width * 4
    limit = materials.cache.max_bytes
    if wanted == "auto" and size > limit:
        reporter.say(
            f"answers   the teacher runs in every epoch: they would take {in_words(size)}, over cache_size "
            f"({in_words(limit)})"
        )
        return False
    missing = sum(part.count for part in wanted_parts if not frozen.is_cached(part))
    reporter.say(f"answers   kept, {in_words(size)}: the teacher runs on {missing:,} images")
    return True
