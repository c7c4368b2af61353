"""Batches on their way to the device: the same ones in the same order, on a GPU one ahead of its use."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch

from tests.fake_gpu import GPU, fake_gpu
from transfer_cli.data.batches import Batch
from transfer_cli.engine.devices.device import Normalize, PixelsToDevice
from transfer_cli.engine.steps.ahead import gathered, on_device

CPU = torch.device("cpu")


def batch(number: int) -> Batch:
    pixels = torch.full((2, 3, 8, 8), number, dtype=torch.uint8)
    return Batch(pixels, torch.tensor([number, number]), torch.tensor([0, 1]), weights=torch.ones(2))


def test_a_cpu_makes_each_when_it_is_asked_for() -> None:
    made: list[int] = []

    def source() -> Iterator[Batch]:
        for number in range(3):
            made.append(number)
            yield batch(number)

    placed = on_device(source(), lambda one: replace(one, stage=1), CPU)
    assert (next(placed).stage, made) == (1, [0])
    assert [int(one.labels[0]) for one in placed] == [1, 2]


def test_a_gpu_has_the_next_one_under_way_while_one_trains() -> None:
    with fake_gpu(lambda: iter(())) as audit:
        made: list[int] = []

        def source() -> Iterator[Batch]:
            for number in range(3):
                made.append(number)
                yield batch(number)

        placed = on_device(source(), PixelsToDevice(Normalize((0.5,) * 3, (0.5,) * 3, GPU)), GPU)
        audit.found.clear()
        first = next(placed)
        assert made == [0, 1]
        assert first.inputs.device == first.labels.device == GPU and first.indices.device == CPU
        assert first.weights is not None and first.weights.device == GPU
        assert len(list(placed)) == 2
        assert audit.found == []


def test_a_batch_without_room_is_sent_again_once_those_before_it_have_trained() -> None:
    with fake_gpu(lambda: iter(())):
        normalize, tries = PixelsToDevice(Normalize((0.5,) * 3, (0.5,) * 3, GPU)), list[int]()

        def to_device(one: Batch) -> Batch:
            tries.append(one.stage)
            if tries == [0, 1]:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
            return normalize(one)

        placed = on_device((replace(batch(number), stage=number) for number in range(4)), to_device, GPU)
        assert (next(placed).stage, tries) == (0, [0, 1])
        assert [one.stage for one in placed] == [1, 2, 3]
        assert tries == [0, 1, 1, 2, 3]


def test_rows_are_gathered_in_order_and_errors_arrive() -> None:
    def make(step: int) -> Batch:
        if step == 5:
            raise ValueError("row 5")
        return batch(step)

    assert [int(one.labels[0]) for one in gathered(make, range(2, 5), CPU)] == [2, 3, 4]
    with fake_gpu(lambda: iter(())) as audit:
        for one in gathered(make, range(2, 5), GPU):
            assert audit._is_pinned(one.inputs) and audit._is_pinned(one.labels)
        with pytest.raises(ValueError, match="row 5"):
            list(gathered(make, range(4, 7), GPU))


@pytest.mark.gpu
def test_a_real_gpu_gets_what_the_cpu_gets() -> None:
    device = torch.device("cuda")
    normalize = PixelsToDevice(Normalize((0.5,) * 3, (0.5,) * 3, device))
    for number, placed in enumerate(on_device(map(batch, range(20)), normalize, device)):
        assert torch.equal(placed.inputs, normalize(batch(number)).inputs)
        assert placed.labels.tolist() == [number, number]
