"""Which channels of the source network matter for the new classes: DELTA's attention (Li 2019, arXiv 1901.09229)."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice

import torch
from torch import Tensor

from transfer_cli.data.batches import Batch
from transfer_cli.engine.device import Compute
from transfer_cli.methods.losses import cross_entropy
from transfer_cli.methods.penalties import attention_weights, loss_increases
from transfer_cli.models.network import Network, has_channels_last
from transfer_cli.runs.inputs import Inputs

IMAGES = 256


def channel_weights(
    source: Network, inputs: Inputs, compute: Compute, batch_size: int, stages: tuple[str, ...]
) -> dict[str, Tensor]:
    """By stage, the weights of its channels [C], from some training images; `source` has a head that knows them."""
    names = [stage.name for stage in source.stages]
    some = islice(inputs.shuffled(batch_size).epoch(0), max(IMAGES // batch_size, 1))
    batches = [inputs.to_device(batch) for batch in some]
    source.eval()
    return {name: _of_stage(source, names.index(name), batches, compute) for name in stages}


@torch.no_grad()
def _of_stage(source: Network, stage: int, batches: list[Batch], compute: Compute) -> Tensor:
    increases = []
    for batch in batches:
        with compute.autocast():
            raw = source.forward_between(batch.stage, stage + 1, batch.inputs)
            # Channels second, as the formula takes them; maps of most networks are so already.
            last = raw.ndim == 3 or (raw.ndim == 4 and has_channels_last(source.module))
            features = raw.movedim(-1, 1) if last else raw
            increases.append(loss_increases(features, _loss_behind(source, stage, batch, last)))
    return attention_weights(torch.stack(increases).float().mean(0))


def _loss_behind(source: Network, stage: int, batch: Batch, last: bool) -> Callable[[Tensor], Tensor]:
    def loss(features: Tensor) -> Tensor:
        logits = source.forward_from(stage + 1, features.movedim(1, -1) if last else features)
        return cross_entropy(logits, batch.labels if batch.targets is None else batch.targets).mean()

    return loss
