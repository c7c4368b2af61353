"""`trainer.batch_size=auto` as a number."""

from __future__ import annotations

from dataclasses import replace

import torch

from transfer_cli.config.auto import AUTO
from transfer_cli.config.schema import Experiment
from transfer_cli.data.reading.image_set import ImageSet
from transfer_cli.engine.devices.device import Compute
from transfer_cli.engine.measured.batch_size import MOST, STEPS_OF_AN_EPOCH, USUAL, most_useful, probed
from transfer_cli.engine.measured.precision import by_rule
from transfer_cli.records.terminal import Reporter
from transfer_cli.runs.choices.settings import say
from transfer_cli.runs.machine import Machine
from transfer_cli.runs.pretrained import Pretrained
from transfer_cli.strategies.rules import Choice


def with_batch(
    e: Experiment, machine: Machine, pretrained: Pretrained, images: ImageSet, reporter: Reporter
) -> Experiment:
    """The number of images that train at once, by a few steps on a GPU, else by rule."""
    if e.trainer.batch_size != AUTO:
        return e
    if machine.device.type == "cuda":
        found = _on_gpu(e, machine.device, pretrained, images)
    else:
        found = Choice(USUAL, f"more would not make a {machine.device.type} faster")
    say("trainer.batch_size", found, reporter)
    return replace(e, trainer=replace(e.trainer, batch_size=found.value))


def _on_gpu(e: Experiment, device: torch.device, pretrained: Pretrained, images: ImageSet) -> Choice[int]:
    # Of a network of its own: the one that trains must not have been through these steps.
    network, _ = pretrained.build(max(len(images.classes), 1), e.seed)
    network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    asked = e.trainer.precision
    precision = by_rule(network, training=True)[0] if asked == AUTO else asked
    count = len(images.splits["train"]) // e.trainer.accumulate
    most, size = most_useful(count), pretrained.preprocessing.crop_pixels
    found = probed(network, Compute(device, precision), size, most)
    del network
    torch.cuda.empty_cache()
    if found < most:
        return Choice(found, f"what the GPU has room for at {size} px in {precision}, with a tenth to spare")
    limit = f"{MOST} are enough" if most == MOST else f"an epoch has {STEPS_OF_AN_EPOCH} steps or more so"
    return Choice(found, f"it fits, and {limit if most > USUAL else 'the training images are few'}")
