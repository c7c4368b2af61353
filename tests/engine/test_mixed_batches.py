"""Mixed batches: what the loop gets, from any step of an epoch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch

from transfer_cli.data.batches import Batch, Shard, of_visit
from transfer_cli.data.views.mixing import Mixes, mixing_order
from transfer_cli.engine.mixed_batches import MixedEpochs, MixedToDevice, mixes
from transfer_cli.runs.views import NO_AUGMENT

MIXUP = replace(NO_AUGMENT, mixup=0.5)
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


to_device = MixedToDevice(lambda batch: batch, CLASSES)


def drawn(epoch: int = 0, start_step: int = 0) -> Mixes:
    found = next(MixedEpochs(Two(), MIXUP, 0, SIZE).epoch(epoch, start_step)).mixes
    assert found is not None
    return found


def test_labels_are_mixed_as_the_images_are() -> None:
    batch = to_device(next(MixedEpochs(Two(), MIXUP, 0, SIZE).epoch(0)))
    plain, targets, how = sample(0), batch.targets, drawn()
    assert targets is not None
    assert not batch.inputs.equal(plain.inputs)
    assert batch.labels.equal(plain.labels)
    torch.testing.assert_close(targets.sum(1), torch.ones(8))
    # The share of the own tone, from the tones of both, is the share of the own label where classes differ.
    own, other = plain.inputs[:, 0, 0, 0], plain.inputs[how.partners, 0, 0, 0]
    torch.testing.assert_close(batch.inputs[:, 0, 0, 0], own * how.shares + other * (1 - how.shares))
    differ = plain.labels != plain.labels[how.partners]
    torch.testing.assert_close(targets[torch.arange(8), plain.labels][differ], how.shares[differ])
    assert batch.mixes is None


def test_weights_of_samples_are_mixed_as_well() -> None:
    how = drawn()
    mixed = to_device(replace(sample(0), weights=torch.arange(8.0), mixes=how)).weights
    expected = torch.arange(8.0) * how.shares + how.partners.float() * (1 - how.shares)
    torch.testing.assert_close(mixed, expected)


def test_a_step_is_mixed_alike_from_wherever_the_epoch_begins() -> None:
    second = list(MixedEpochs(Two(), MIXUP, 0, SIZE).epoch(3))[1].mixes
    assert second is not None
    resumed, another = drawn(3, start_step=1), drawn(4, start_step=1)
    assert all(getattr(second, name).equal(getattr(resumed, name)) for name in ("partners", "shares", "boxes"))
    assert not second.shares.equal(another.shares)


def test_evaluation_is_not_mixed() -> None:
    batch = to_device(sample(0))
    assert batch.inputs.equal(sample(0).inputs)
    assert batch.targets is None


def test_what_mixes() -> None:
    assert mixes(MIXUP)
    assert mixes(replace(NO_AUGMENT, cutmix=1.0))
    assert not mixes(NO_AUGMENT)


class OneStep:
    """A step of so many samples, or the share of a rank: each sample one tone, which is its number."""

    steps_per_epoch = 1

    def __init__(self, count: int, shard: Shard) -> None:
        indices = 3 * np.arange(count)
        self._visit = shard.visit(indices, mixing_order(0, 0, indices))

    def epoch(self, epoch: int, start_step: int = 0) -> Iterator[Batch]:
        indices = torch.from_numpy(self._visit.positions)
        inputs = indices.float().view(-1, 1, 1, 1).expand(-1, 3, SIZE, SIZE).contiguous()
        batch = Batch(inputs, indices // 3 % CLASSES, indices, weights=1 + indices.float())
        yield of_visit(batch, self._visit)


@pytest.mark.parametrize("size", [2, 3, 4])
@pytest.mark.parametrize("count", [1, 3, 7, 16])
def test_images_are_mixed_with_the_same_ones_on_however_many_ranks(size: int, count: int) -> None:
    both = replace(NO_AUGMENT, mixup=0.5, cutmix=1.0)

    def mixed(shard: Shard) -> Batch:
        return to_device(next(MixedEpochs(OneStep(count, shard), both, 0, SIZE).epoch(0)))

    whole, seen = mixed(Shard()), []
    for rank in range(size):
        share = mixed(Shard(rank, size))
        assert share.extra == 0 and share.whole == count
        places = share.indices // 3
        assert share.targets is not None and whole.targets is not None
        assert share.weights is not None and whole.weights is not None
        assert share.inputs.equal(whole.inputs[places])
        assert share.targets.equal(whole.targets[places]) and share.weights.equal(whole.weights[places])
        seen += [] if share.idle else places.tolist()
    assert sorted(seen) == list(range(count))
