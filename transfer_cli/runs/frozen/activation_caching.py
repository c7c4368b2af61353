"""Whether a run keeps the activations of its frozen prefix, decided from sizes and savings and said in a line."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch

from transfer_cli.engine.devices.device import Compute
from transfer_cli.engine.evaluation import BATCH_SIZE
from transfer_cli.engine.frozen import Frozen
from transfer_cli.engine.mixed_batches import mixes
from transfer_cli.engine.stop import Stop
from transfer_cli.models.network import Network
from transfer_cli.records.terminal import Reporter
from transfer_cli.records.text import in_words
from transfer_cli.runs.frozen.backbone import Backbone
from transfer_cli.runs.inputs import ActivationInputs, Inputs, PixelInputs
from transfer_cli.runs.materials import Materials
from transfer_cli.runs.views import SplitActivations, Views

Wanted = Literal["auto"] | bool


@dataclass(frozen=True)
class Estimate:
    """What caching the activations at a boundary would take and save."""

    bytes: int
    runs: int
    """Images that the prefix runs on to fill the cache."""
    runs_without: int
    """Images that it would run on otherwise."""


def choose_inputs(
    m: Materials, network: Network, boundary: int, wanted: Wanted, compute: Compute, reporter: Reporter, stop: Stop
) -> Inputs:
    """Activations from the cache, or pixels. `wanted` true keeps them even where it saves nothing."""
    if boundary == 0:
        return PixelInputs(m)
    reason = _obstacle(m, network, boundary, wanted)
    stage = network.stages[boundary].name
    if reason is not None:
        reporter.say(f"prefix    all before {stage} is frozen and runs in every epoch: {reason}")
        return PixelInputs(m)
    found = estimate(m, network, boundary)
    reporter.say(
        f"prefix    all before {stage} is frozen: it runs on {found.runs:,} images instead of "
        f"{found.runs_without:,}, its activations take {in_words(found.bytes)}"
    )
    frozen = frozen_prefix(m, network, boundary, compute, reporter, stop)
    return ActivationInputs(m, SplitActivations(frozen, m), boundary)


def frozen_prefix(
    m: Materials, network: Network, boundary: int, compute: Compute, reporter: Reporter, stop: Stop
) -> Frozen:
    """The stages before `boundary`, in eval mode."""

    def forward() -> Callable[[torch.Tensor], torch.Tensor]:
        network.eval()
        return lambda images: network.forward_to(boundary, images)

    backbone = Backbone(m.experiment, m.machine, m.pretrained, m.task.width)
    return Frozen(
        identity={**backbone.identity, "boundary": network.stages[boundary - 1].name},
        forward=forward,
        compute=compute,
        to_device=m.to_device,
        batch_size=BATCH_SIZE[m.device.type],
        cache=m.machine.cache,
        count=reporter.count,
        stop=stop,
    )


def _obstacle(m: Materials, network: Network, boundary: int, wanted: Wanted) -> str | None:
    """Why activations are not kept, or None."""
    if wanted is False:
        return "strategy.cache=false"
    if mixes(m.augment):
        return "mixup and cutmix mix images before it"
    if not Views(m).repeat:
        return "a view never comes again; augment.views=<K> lets them repeat"
    found, limit = estimate(m, network, boundary), m.machine.cache.max_bytes
    if found.bytes > limit:
        return f"its activations would take {in_words(found.bytes)}, over cache_size ({in_words(limit)})"
    if wanted == "auto" and found.runs >= found.runs_without:
        return f"{m.augment.views} views are no fewer than the epochs"
    return None


def estimate(m: Materials, network: Network, boundary: int) -> Estimate:
    """Sizes from one black image, runs from the splits and the number of epochs."""
    counts = {split: len(indices) for split, indices in m.images.splits.items()}
    size, device = m.preprocessing.crop_pixels, next(network.parameters()).device
    black = torch.zeros(2, network.channels, size, size, device=device)
    with torch.inference_mode():
        shape = network.eval().forward_to(boundary, black).shape[1:]
    samples = sum(counts[split] for split, _ in Views(m).all())
    without = m.plan.epochs * (counts["train"] + counts["val"]) + counts["test"]
    # Two bytes a number in the precisions that large runs use, four in fp32: the larger is assumed.
    return Estimate(samples * math.prod(shape) * 4, samples, without)
