"""Outputs of a GPU come to the host while it computes the next ones; elsewhere they are there already."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.fake_gpu import GPU, fake_gpu
from transfer_cli.data.batches import Batch
from transfer_cli.engine import evaluation
from transfer_cli.engine.devices.device import Compute
from transfer_cli.engine.steps.behind import on_host
from transfer_cli.engine.stop import Stop

CPU = torch.device("cpu")


def computed(count: int, device: torch.device, log: list[str]) -> Iterator[tuple[Batch, Tensor]]:
    """Batches whose numbers are their labels, and outputs in rows of them."""
    for number in range(count):
        log.append(f"computed {number}")
        labels = torch.full((2,), number, device=device)
        yield Batch(torch.zeros(2, 1, device=device), labels, labels), torch.full((2, 3), float(number), device=device)


@pytest.mark.parametrize(
    "order", [[], ["computed 0", "read"], ["computed 0", "computed 1", "read", "computed 2", "read", "read"]]
)
def test_a_gpu_has_the_next_batch_under_way_when_outputs_are_read(order: list[str]) -> None:
    with fake_gpu(lambda: iter(())) as audit:
        log: list[str] = []
        for labels, outputs in on_host(computed(order.count("read"), GPU, log), GPU):
            log.append("read")
            assert labels.device == outputs.device == CPU and outputs.shape == (2, 3)
        assert log == order
        assert audit.found == []


def test_on_a_cpu_each_is_read_when_it_is_computed() -> None:
    log: list[str] = []
    found = [(labels.tolist(), outputs[0, 0].item()) for labels, outputs in on_host(computed(2, CPU, log), CPU)]
    assert found == [([0, 0], 0.0), ([1, 1], 1.0)]


def test_who_predicts_keeps_none_of_the_memory_that_outputs_come_in(monkeypatch: pytest.MonkeyPatch) -> None:
    def in_one_buffer(found: Iterable[tuple[Batch, Tensor]], _: torch.device) -> Iterator[tuple[Tensor, Tensor]]:
        labels, outputs = torch.zeros(2, dtype=torch.int64), torch.zeros(2, 3)
        for batch, output in found:
            yield labels.copy_(batch.labels), outputs.copy_(output)

    monkeypatch.setattr(evaluation, "on_host", in_one_buffer)
    network: Any = nn.Linear(3, 3)
    batches = [Batch(torch.full((2, 3), float(number)), torch.full((2,), number), torch.arange(2)) for number in (1, 2)]
    found = evaluation.predict(network, batches, Compute(CPU, "fp32"), lambda batch: batch, Stop())
    assert found is not None
    with torch.no_grad():
        expected = torch.cat([network(batch.inputs) for batch in batches])
    torch.testing.assert_close(torch.from_numpy(found[0]), expected)
    assert found[1].tolist() == [1, 1, 2, 2]


@pytest.mark.gpu
def test_a_real_gpu_gives_all_of_them_in_order() -> None:
    device, log = torch.device("cuda", 0), list[str]()
    found = [(labels.tolist(), outputs.tolist()) for labels, outputs in on_host(computed(9, device, log), device)]
    assert found == [([number] * 2, [[float(number)] * 3] * 2) for number in range(9)]
