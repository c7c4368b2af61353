"""DELTA's attention: what a channel is worth depends on the source and on images as they are, on nothing else."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tests.conftest import TINY, experiment
from transfer_cli.engine.stop import Stop
from transfer_cli.records.terminal import Reporter
from transfer_cli.runs.finetune.channel_weights import channel_weights
from transfer_cli.runs.finetune.job import prepare


def attention(*words: str) -> Tensor:
    job = prepare(experiment(*TINY, "augment.views=2", *words), Reporter(quiet=True), Stop(), None)
    network = job.network
    with torch.no_grad():
        network.module.get_submodule(network.classifier).weight.normal_(generator=torch.Generator().manual_seed(0))
    return channel_weights(network, job.inputs, job.compute, ("layer4",))["layer4"]


@pytest.mark.parametrize("words", [["trainer.batch_size=4"], ["augment.mixup=0.8", "augment.cutmix=1.0"]])
def test_neither_mixing_nor_the_batch_size_of_training_matters(words: list[str]) -> None:
    plain = attention()
    assert plain.sum().item() == pytest.approx(1)
    assert plain.max() > 1.5 * plain.min()
    assert torch.equal(attention(*words), plain)
