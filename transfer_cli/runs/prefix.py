"""Whether a run keeps what its frozen prefix makes of each image, decided from sizes and savings and said in a line."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch

from transfer_cli.engine.device import Compute
from transfer_cli.engine.frozen import BATCH_SIZE, Frozen
from transfer_cli.engine.mixed import mixes
from transfer_cli.models.network import Network
from transfer_cli.records.terminal import Reporter
from transfer_cli.records.text import in_words
from transfer_cli.runs.backbone import Backbone
from transfer_cli.runs.inputs import ActivationInputs, Inputs, PixelInputs
from transfer_cli.runs.materials import Materials
from transfer_cli.runs.views import Parts, Rows

Wanted = Literal["auto"] | bool


@dataclass(frozen=True)
class Plan:
    """What caching the activations at a boundary would take and save."""

    bytes: int
    runs: int
    """Images that the prefix runs on to fill the cache."""
    runs_without: int
    """Images that it would run on otherwise."""


def choose(
    materials: Materials, network: Network, boundary: int, wanted: Wanted, compute: Compute, reporter: Reporter
) -> Inputs:
    """Activations from the cache, or pixels. `wanted` true keeps them even where it saves nothing."""
    if boundary == 0:
        return PixelInputs(materials)
    reason = _obstacle(materials, network, boundary, wanted)
    stage = network.stages[boundary].name
    if reason is not None:
        reporter.say(f"prefix    what lies before {stage} is frozen and runs in every epoch: {reason}")
        return PixelInputs(materials)
    plan = estimate(materials, network, boundary)
    reporter.say(
        f"prefix    what lies before {stage} is frozen: it runs on {plan.runs:,} images instead of "
        f"{plan.runs_without:,}, its activations take {in_words(plan.bytes)}"
    )
    frozen = at_boundary(materials, network, boundary, compute, reporter)
    return ActivationInputs(materials, Rows(frozen, materials), boundary)


def at_boundary(materials: Materials, network: Network, boundary: int, compute: Compute, reporter: Reporter) -> Frozen:
    """The stages before `boundary`, in eval mode."""

    def forward() -> Callable[[torch.Tensor], torch.Tensor]:
        network.eval()
        return lambda images: network.forward_to(boundary, images)

    return Frozen(
        identity={**Backbone(materials).identity, "boundary": network.stages[boundary - 1].name},
        forward=forward,
        compute=compute,
        place=materials.place,
        batch_size=BATCH_SIZE[materials.device.type],
        cache=materials.cache,
        count=reporter.count,
    )


def _obstacle(materials: Materials, network: Network, boundary: int, wanted: Wanted) -> str | None:
    """Why activations are not kept, or None."""
    if wanted is False:
        return "strategy.cache=false"
    if mixes(materials.augment):
        return "mixup and cutmix mix images before it"
    if not Parts(materials).repeats:
        return "a view never comes again; augment.views=<K> lets them repeat"
    plan, limit = estimate(materials, network, boundary), materials.cache.max_bytes
    if plan.bytes > limit:
        return f"its activations would take {in_words(plan.bytes)}, over cache_size ({in_words(limit)})"
    if wanted == "auto" and plan.runs >= plan.runs_without:
        return f"{materials.augment.views} views are no fewer than the epochs"
    return None


def estimate(materials: Materials, network: Network, boundary: int) -> Plan:
    """Sizes from one black image, runs from the splits and the number of epochs."""
    m = materials
    counts = {split: len(indices) for split, indices in m.images.splits.items()}
    size, device = m.preprocessing.crop_pixels, next(network.parameters()).device
    with torch.inference_mode():
        shape = network.eval().forward_to(boundary, torch.zeros(2, 3, size, size, device=device)).shape[1:]
    parts = sum(counts[split] for split, _ in Parts(m).wanted())
    epochs = m.epochs
    without = epochs * (counts["train"] + counts["val"]) + counts["test"]
    # Two bytes a number in the precisions that large runs use, four in fp32: the larger is assumed.
    return Plan(parts * math.prod(shape) * 4, parts, without)
