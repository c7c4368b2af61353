"""How many images train at once: useful, and with room to spare."""

from __future__ import annotations

import pytest
import torch

from tests.strategies.networks import tiny
from transfer_cli.engine.devices.device import Compute
from transfer_cli.engine.measured import batch_size
from transfer_cli.engine.measured.batch_size import largest, most_useful, probed
from transfer_cli.errors import RunError

GPU = Compute(torch.device("cuda", 0), "fp32")


@pytest.mark.parametrize(
    ("images", "most"), [(10, 32), (1_279, 32), (1_280, 64), (2_559, 64), (2_560, 128), (5_120, 256), (10**6, 256)]
)
def test_an_epoch_keeps_twenty_steps_beyond_the_usual_batch(images: int, most: int) -> None:
    assert most_useful(images) == most


@pytest.mark.parametrize("room", [1, 2, 3, 4, 7, 8, 15, 16, 100, 128, 255, 256, 300])
def test_bisection_finds_the_largest_that_fits(room: int) -> None:
    tried: list[int] = []
    found = largest(lambda size: not tried.append(size) and size <= room, 256)  # type: ignore[func-returns-value]
    assert found == (min(room // 8 * 8, 256) if room >= 8 else max(size for size in (4, 2, 1) if size <= room))
    assert len(tried) <= 9


def test_nothing_fits() -> None:
    assert largest(lambda size: False, 256) is None


@pytest.fixture
def memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """A GPU of which ten GiB are free; a step takes a tenth of one an image, and fails beyond eleven."""
    network_bytes = 0
    peak = {"bytes": network_bytes}

    def step(network: object, compute: object, image_size: int, size: int) -> bool:
        if size > 110:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        peak["bytes"] = size * 2**30 // 10
        return True

    monkeypatch.setattr(batch_size, "_step", step)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (10 * 2**30, 12 * 2**30))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 0)
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda device: None)
    monkeypatch.setattr(torch.cuda, "max_memory_reserved", lambda device: peak["bytes"])
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)


@pytest.mark.usefixtures("memory")
def test_a_tenth_of_the_memory_is_left_and_room_for_the_optimizer(monkeypatch: pytest.MonkeyPatch) -> None:
    network = tiny()
    assert probed(network, GPU, 32, 64) == 64
    # Nine GiB are ninety images, were there not the moments of the weights.
    assert probed(network, GPU, 32, 256) == 88
    monkeypatch.setattr(batch_size, "STATES", 2**30 // sum(p.numel() for p in network.parameters()))
    assert probed(network, GPU, 32, 256) == 48


@pytest.mark.usefixtures("memory")
def test_where_nothing_fits_it_ends_with_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (0, 12 * 2**30))
    with pytest.raises(RunError, match=r"not even one image of 32 pixels fits \(0.0 of 12.0 GiB are free\)"):
        probed(tiny(), GPU, 32, 64)


@pytest.mark.gpu
def test_a_real_gpu_has_room_for_a_tiny_network() -> None:
    network = tiny()
    network.to("cuda")
    assert probed(network, Compute(torch.device("cuda"), "bf16"), 32, 256) == 256
