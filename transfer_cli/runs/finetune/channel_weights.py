"""Which channels of the source network matter for the new classes: DELTA's attention (Li 2019, arXiv 1901.09229)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import islice

import torch
from torch import Tensor

from transfer_cli.data.batches import Batch
from transfer_cli.engine.devices.device import Compute
from transfer_cli.methods.losses import cross_entropy
from transfer_cli.methods.penalties import attention_weights, loss_increases
from transfer_cli.models.network import Network, has_channels_last
from transfer_cli.runs.inputs import Inputs, PixelInputs

IMAGES, BATCH = 256, 64
"""Of one size whatever the training's is: what a channel is worth must not depend on it."""


def channel_weights(source: Network, inputs: Inputs, compute: Compute, stages: tuple[str, ...]) -> dict[str, Tensor]:
    """By stage, the weights of its channels [C], from some training images; `source` has a head that knows them.

    Of images as they are: what mixes them hides what a channel says of one.
    """
    names = [stage.name for stage in source.stages]
    inputs = _unmixed(inputs)
    some = islice(inputs.shuffled(BATCH).epoch(0), IMAGES // BATCH)
    batches = [inputs.to_device(batch) for batch in some]
    source.eval()
    return {name: _of_stage(source, names.index(name), batches, compute) for name in stages}


def _unmixed(inputs: Inputs) -> Inputs:
    """The same images apart from each other; activations never are of mixed ones."""
    if not isinstance(inputs, PixelInputs):
        return inputs
    return PixelInputs(inputs.materials.with_augment(replace(inputs.materials.augment, mixup=0.0, cutmix=0.0)))


@torch.no_grad()
def _of_stage(source: Network, stage: int, batches: list[Batch], compute: Compute) -> Tensor:
    increases, counts = [], []
    for batch in batches:
        with compute.autocast():
            raw = source.forward_between(batch.stage, stage + 1, batch.inputs)
            # Channels second, as the formula takes them; maps of most networks are so already.
            last = raw.ndim == 3 or (raw.ndim == 4 and has_channels_last(source.module))
            features = raw.movedim(-1, 1) if last else raw
            increases.append(loss_increases(features, _loss_behind(source, stage, batch, last)))
        counts.append(len(batch.labels))
    shares = torch.tensor(counts, dtype=torch.float32, device=increases[0].device) / sum(counts)
    return attention_weights(shares @ torch.stack(increases).float())


def _loss_behind(source: Network, stage: int, batch: Batch, last: bool) -> Callable[[Tensor], Tensor]:
    def loss(features: Tensor) -> Tensor:
        logits = source.forward_from(stage + 1, features.movedim(1, -1) if last else features)
        return cross_entropy(logits, batch.labels).mean()

    return loss
