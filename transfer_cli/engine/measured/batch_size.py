"""How many images train at once, where that is left to the program: as many as a GPU has room for and are useful.

More than 256 a step train no faster on a GPU, and the rates that this program knows are for less; an epoch of few steps
learns little. On a CPU 32 keep all cores as busy as more would.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from transfer_cli.engine.devices.device import Compute
from transfer_cli.engine.steps.retrying import give_back, tried
from transfer_cli.errors import RunError
from transfer_cli.models.network import Network

USUAL = 32
MOST, STEPS_OF_AN_EPOCH = 256, 20
"""Images of a step at most, and steps of an epoch at least, where that leaves more than the usual number of images."""
ROUND = 8
"""Batches are multiples of it where they can be: what tensor cores take at once."""
SHARE = 0.9
"""Of the memory that is free; the rest is for what a probe does not see: fragments, other sizes of batches."""
STATES = 3
"""Copies of all weights that may come beside them: two moments and an average."""


def most_useful(images: int) -> int:
    """As many images of a step as make sense for so many training images: a power of two times the usual."""
    size = USUAL
    while size < MOST and images >= 2 * size * STEPS_OF_AN_EPOCH:
        size *= 2
    return size


def largest(fits: Callable[[int], bool], most: int) -> int | None:
    """The largest number of images up to `most` that `fits`, by bisection over multiples of eight; None for none."""
    if fits(most):
        return most
    low, high = 0, -(-most // ROUND)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(ROUND * middle) else (low, middle)
    if low:
        return ROUND * low
    return next((size for size in (4, 2, 1) if size < most and fits(size)), None)


def probed(network: Network, compute: Compute, image_size: int, most: int) -> int:
    """The largest batch up to `most` whose training step leaves a tenth of the GPU's free memory.

    All of the network trains in the probe. Raises RunError, with numbers, where not even one image fits.
    """
    free, total = torch.cuda.mem_get_info(compute.device)
    room = SHARE * (free + torch.cuda.memory_reserved(compute.device))
    states = STATES * sum(parameter.numel() * parameter.element_size() for parameter in network.parameters())
    network.train()

    def fits(size: int) -> bool:
        torch.cuda.reset_peak_memory_stats(compute.device)
        done, _ = tried(lambda: _step(network, compute, image_size, size))
        network.zero_grad(set_to_none=True)
        peak = torch.cuda.max_memory_reserved(compute.device)
        give_back(compute.device)
        return done is not None and peak + states <= room

    found = largest(fits, most)
    if found is None:
        raise RunError(
            f"trainer.batch_size=auto: not even one image of {image_size} pixels fits ({free / 2**30:.1f} of "
            f"{total / 2**30:.1f} GiB are free). Free the device, or take a smaller model or image_size."
        )
    return found


def _step(network: Network, compute: Compute, image_size: int, size: int) -> bool:
    images = torch.zeros(size, network.channels, image_size, image_size, device=compute.device)
    with compute.products():
        with compute.autocast():
            loss = _loss(network(images.to(memory_format=torch.channels_last)))
        loss.backward()
    return True


def _loss(logits: Tensor) -> Tensor:
    return F.cross_entropy(logits.float(), torch.zeros(len(logits), dtype=torch.int64, device=logits.device))
