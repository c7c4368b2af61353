"""Mixup and cutmix between the loader and the loop: drawn on the host, done on the device, before micro-batches."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from transfer_cli.config.schema import Augment
from transfer_cli.data.batches import Batch, Epochs
from transfer_cli.data.views.augment import view_of
from transfer_cli.data.views.mixing import Mixes, draw
from transfer_cli.engine.device import Place
from transfer_cli.methods.mixing import mix_images, mix_targets

NAMES = ("partners", "shares", "boxes")


def mixes(augment: Augment) -> bool:
    """Whether a recipe mixes images with each other."""
    return augment.mixup > 0 or augment.cutmix > 0


class MixedEpochs:
    """The same batches, each with how its images are to be mixed."""

    def __init__(self, batches: Epochs, augment: Augment, seed: int, size: int) -> None:
        self._batches, self._augment, self._seed, self._size = batches, augment, seed, size
        self.steps_per_epoch = batches.steps_per_epoch

    def epoch(self, epoch: int, start_step: int = 0) -> Iterator[Batch]:
        """See Epochs."""
        augment, view = self._augment, view_of(epoch, self._augment)
        for batch in self._batches.epoch(epoch, start_step):
            drawn = draw(
                self._seed,
                view,
                batch.indices.numpy(),
                (self._size, self._size),
                mixup=augment.mixup,
                cutmix=augment.cutmix,
            )
            batch.extras |= {name: getattr(drawn, name) for name in NAMES}
            yield batch


@dataclass(frozen=True)
class PlaceMixed:
    """Batches to the device, mixed where they say how: with probabilities `targets` [B, K] beside the labels."""

    place: Place
    classes: int

    def __call__(self, batch: Batch) -> Batch:
        """See Place."""
        placed = self.place(batch)
        if "partners" not in placed.extras:
            return placed
        found = Mixes(*(placed.extras.pop(name) for name in NAMES))
        placed.extras["targets"] = mix_targets(placed.labels, found, self.classes)
        if "weight" in placed.extras:
            own = placed.extras["weight"]
            placed.extras["weight"] = torch.lerp(own[found.partners], own, found.shares)
        return Batch(mix_images(placed.inputs, found), placed.labels, placed.indices, placed.extras)
