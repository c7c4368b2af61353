"""How fast a trained model labels images: one way of measuring for all, on pixels that are in memory already."""

from __future__ import annotations

import statistics
import time

import torch

from transfer_cli.engine.evaluation import BATCH_SIZE, predict
from transfer_cli.engine.measured.precision import plain_batch
from transfer_cli.engine.stop import Stop
from transfer_cli.runs.saved_model import Trained

WARM_UP, REPEATS = 2, 7
ENOUGH_SECONDS = 5.0
"""No repeat begins after this long, but three are always done."""


def images_per_second(trained: Trained) -> float:
    """The median over some batches, after two that warm up; from uint8 pixels on the host to logits on the host."""
    size, channels = trained.about.preprocessing.crop_pixels, trained.about.preprocessing.channels
    count = BATCH_SIZE[trained.compute.device.type]
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (count, channels, size, size), dtype=torch.uint8, generator=generator)
    batch = plain_batch(pixels.to(memory_format=torch.channels_last))
    seconds: list[float] = []
    began = time.perf_counter()
    for number in range(WARM_UP + REPEATS):
        if len(seconds) >= 3 and time.perf_counter() - began > ENOUGH_SECONDS:
            break
        started = time.perf_counter()
        # Logits come back to the host, so that the device has finished.
        predict(trained.network, [batch], trained.compute, trained.to_device, Stop())
        if number >= WARM_UP:
            seconds.append(time.perf_counter() - started)
    return count / statistics.median(seconds)
