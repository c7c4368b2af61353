"""Mixup and cutmix between the loader and the loop: drawn on the host, done on the device, before micro-batches."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch

from transfer_cli.config.schema import Augment
from transfer_cli.data.batches import Batch, Epochs
from transfer_cli.data.views.augment import view_of
from transfer_cli.data.views.mixing import draw
from transfer_cli.engine.devices.device import ToDevice
from transfer_cli.methods.mixing import mix_images, mix_targets


def mixes(augment: Augment) -> bool:
    """Whether a recipe mixes images with each other."""
    return augment.mixup > 0 or augment.cutmix > 0


class MixedEpochs:
    """The same batches, each with how its images are to be mixed."""

    def __init__(self, batches: Epochs, augment: Augment, seed: int, size: int) -> None:
        self._batches, self._augment, self._seed, self._size = batches, augment, seed, size
        self.steps_per_epoch = batches.steps_per_epoch

    def epoch(self, epoch: int, start_step: int = 0) -> Iterator[Batch]:
        """The batches of an epoch from `start_step` on; images are mixed the same way whatever came before."""
        augment, view, size = self._augment, view_of(epoch, self._augment), (self._size, self._size)
        for batch in self._batches.epoch(epoch, start_step):
            indices = batch.indices.numpy()
            chained = batch.extra > 0
            drawn = draw(self._seed, view, indices, size, mixup=augment.mixup, cutmix=augment.cutmix, chained=chained)
            yield replace(batch, mixes=drawn)


@dataclass(frozen=True)
class MixedToDevice:
    """Batches to the device, mixed where they say how: with probabilities `targets` [B, K] beside the labels."""

    to_device: ToDevice
    classes: int

    def __call__(self, batch: Batch) -> Batch:
        """Inputs [B, 3, S, S] mixed; labels stay those of the sample itself."""
        placed = self.to_device(batch)
        found = placed.mixes
        if found is None:
            return placed
        own = placed.weights
        weights = None if own is None else torch.lerp(own[found.partners], own, found.shares)
        targets = mix_targets(placed.labels, found, self.classes)
        inputs = mix_images(placed.inputs, found)
        mixed = replace(placed, inputs=inputs, targets=targets, weights=weights, mixes=None)
        return mixed if not batch.extra else replace(mixed[: -batch.extra], extra=0)
