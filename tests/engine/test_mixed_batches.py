"""Mixed batches: what the loop gets, from any step of an epoch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch
from transfer_cli.engine.mixed import NAMES, MixedEpochs, PlaceMixed, mixes

from transfer_cli.data.batches import Batch
from transfer_cli.runs.views import PLAIN

MIXUP = replace(PLAIN, mixup=0.5)
SIZE, CLASSES = 4, 3


def sample(index: int) -> Batch:
    """Eight samples, each of one tone."""
    indices = torch.arange(8) + 8 * index
    inputs = indices.float().view(-1, 1, 1, 1).expand(-1, 3, SIZE, SIZE).contiguous()
    return Batch(inputs, indices % CLASSES, indices)


class Two:
    steps_per_epoch = 2

    def epoch(self, epoch: int, start_step: int = 0) -> Iterator[Batch]:
        yield from (sample(step) for step in range(start_step, 2))


place = PlaceMixed(lambda batch: batch, CLASSES)


def test_labels_are_mixed_as_the_images_are() -> None:
    batch = place(next(MixedEpochs(Two(), MIXUP, 0, SIZE).epoch(0)))
    plain, targets = sample(0), batch.extras["targets"]
    assert not batch.inputs.equal(plain.inputs)
    assert batch.labels.equal(plain.labels)
    torch.testing.assert_close(targets.sum(1), torch.ones(8))
    # The share of the own tone, from the tones of both, is the share of the own label where classes differ.
    drawn = next(MixedEpochs(Two(), MIXUP, 0, SIZE).epoch(0)).extras
    own, other = plain.inputs[:, 0, 0, 0], plain.inputs[drawn["partners"], 0, 0, 0]
    torch.testing.assert_close(batch.inputs[:, 0, 0, 0], own * drawn["shares"] + other * (1 - drawn["shares"]))
    differ = plain.labels != plain.labels[drawn["partners"]]
    torch.testing.assert_close(targets[torch.arange(8), plain.labels][differ], drawn["shares"][differ])
    assert not set(NAMES) & batch.extras.keys()


def test_weights_of_samples_are_mixed_as_well() -> None:
    plain = sample(0)
    plain.extras["weight"] = torch.arange(8.0)
    drawn = next(MixedEpochs(Two(), MIXUP, 0, SIZE).epoch(0)).extras
    plain.extras |= {name: drawn[name] for name in NAMES}
    mixed = place(plain).extras["weight"]
    expected = torch.arange(8.0) * drawn["shares"] + drawn["partners"].float() * (1 - drawn["shares"])
    torch.testing.assert_close(mixed, expected)


def test_a_step_is_mixed_alike_from_wherever_the_epoch_begins() -> None:
    epochs = MixedEpochs(Two(), MIXUP, 0, SIZE)
    second = list(epochs.epoch(3))[1]
    resumed = next(epochs.epoch(3, start_step=1))
    assert all(np.array_equal(second.extras[name], resumed.extras[name]) for name in NAMES)
    assert not second.extras["shares"].equal(next(epochs.epoch(4, start_step=1)).extras["shares"])


def test_evaluation_is_not_mixed() -> None:
    batch = place(sample(0))
    assert batch.inputs.equal(sample(0).inputs)
    assert "targets" not in batch.extras


def test_what_mixes() -> None:
    assert mixes(MIXUP)
    assert mixes(replace(PLAIN, cutmix=1.0))
    assert not mixes(PLAIN)
