"""Pixels arrive normalised, and as the same bits whatever travels beside them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from transfer_cli.data.batches import Batch
from transfer_cli.engine.devices import device
from transfer_cli.engine.devices.device import Normalize, PixelsToDevice

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SIZE = 67
ROOT = Path(__file__).parents[3]
B = 11  # more than are done at once


@pytest.fixture
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def normalize() -> Normalize:
    return Normalize(MEAN, STD, torch.device("cpu"))


def images(size: int = SIZE) -> torch.Tensor:
    """Channels last, as views are."""
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (B, size, size, 3), dtype=torch.uint8, generator=generator).permute(0, 3, 1, 2)


def maps() -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    random = torch.rand(B, 3, 4, generator=generator) - 0.5
    return (torch.eye(3, 4) + 0.3 * random) * torch.tensor([1.0, 1, 1, 60])


def layouts() -> list[torch.Tensor]:
    return [images(), images().contiguous()]


def test_without_colour_it_is_torchvisions_transform_to_the_bit() -> None:
    """The functions that the presets of its weights call."""
    from torchvision.transforms import functional

    expected = functional.normalize(functional.convert_image_dtype(images(), torch.float), MEAN, STD)
    for given in layouts():
        made = normalize()(given)
        assert torch.equal(made, expected)
        assert made.is_contiguous(memory_format=torch.channels_last)


def test_colour_is_applied_to_levels_clipped_and_normalised() -> None:
    x, m = images().numpy().astype(np.float64), maps().numpy().astype(np.float64)
    mapped = np.clip(np.einsum("bchw,bkc->bkhw", x, m[:, :, :3]) + m[:, :, 3, None, None], 0, 255)
    assert (mapped == 0).any() and (mapped == 255).any()
    expected = (mapped / 255 - np.reshape(MEAN, (3, 1, 1))) / np.reshape(STD, (3, 1, 1))
    for given in layouts():
        made = normalize()(given, maps())
        assert np.abs(made.numpy() - expected).max() < 1e-5
        assert made.is_contiguous(memory_format=torch.channels_last)


def test_the_map_that_changes_nothing_changes_nothing() -> None:
    made = normalize()(images(), torch.eye(3, 4).expand(B, 3, 4))
    assert torch.allclose(made, normalize()(images()), atol=1e-6)


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize("size", [SIZE, 192])
@pytest.mark.parametrize("coloured", [False, True])
def test_bits_depend_on_neither_batch_threads_nor_layout(coloured: bool, size: int) -> None:
    """At 192 pixels torch spreads one image over threads."""
    pixels, colour = images(size), maps() if coloured else None
    torch.set_num_threads(1)
    whole = normalize()(pixels, colour)
    for count in (1, 2, 3):
        torch.set_num_threads(count)
        for rows in ([4], [9, 0], list(range(10, -1, -1))):
            for given in (pixels[rows], pixels[rows].contiguous()):
                assert torch.equal(normalize()(given, None if colour is None else colour[rows]), whole[rows])


def test_a_batch_is_placed_with_its_colour_applied() -> None:
    numbers, weights = torch.arange(B), torch.rand(B)
    placed = PixelsToDevice(normalize())(Batch(images(), numbers, numbers, weights=weights, colour=maps()))
    assert torch.equal(placed.inputs, normalize()(images(), maps()))
    assert placed.weights is weights and placed.colour is None


def test_no_images_are_no_images() -> None:
    assert normalize()(images()[:0]).shape == (0, 3, SIZE, SIZE)
    assert normalize()(images()[:0], maps()[:0]).shape == (0, 3, SIZE, SIZE)


@pytest.fixture
def as_found(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What torch settles for the whole process is put back."""
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    cudnn = torch.backends.cudnn
    before = cudnn.benchmark, cudnn.deterministic, torch.utils.deterministic.fill_uninitialized_memory
    yield
    cudnn.benchmark, cudnn.deterministic, torch.utils.deterministic.fill_uninitialized_memory = before
    torch.use_deterministic_algorithms(False)
    for kind in ("flash", "mem_efficient", "cudnn"):
        getattr(torch.backends.cuda, f"enable_{kind}_sdp")(True)


def test_a_cpu_needs_no_compiler() -> None:
    code = (
        "import sys, torch; from transfer_cli.engine.devices.device import prepare\n"
        "prepare(torch.device('cpu'), 0)\n"
        "print([name for name in ('torch._inductor', 'torch._dynamo') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout == "[]\n", "a second at the start of every command"


@pytest.mark.usefixtures("as_found")
@pytest.mark.parametrize("deterministic", [True, False])
def test_a_gpu_adds_up_in_order_where_that_is_asked_for(deterministic: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("set_device", "reset_peak_memory_stats"):
        monkeypatch.setattr(torch.cuda, name, lambda device: None)
    monkeypatch.setattr(device, "set_products", lambda kind: None)
    device.prepare(torch.device("cuda", 0), 7, deterministic=deterministic)
    assert torch.are_deterministic_algorithms_enabled() == deterministic
    assert torch.is_deterministic_algorithms_warn_only_enabled() == deterministic
    assert torch.backends.cudnn.deterministic == deterministic
    assert not torch.backends.cudnn.benchmark
    for kind in ("flash", "mem_efficient", "cudnn"):
        assert getattr(torch.backends.cuda, f"{kind}_sdp_enabled")() != deterministic
    assert os.environ.get("CUBLAS_WORKSPACE_CONFIG") == (":4096:8" if deterministic else None)
    assert torch.initial_seed() == 7


@pytest.mark.usefixtures("as_found")
def test_on_a_cpu_nothing_is_settled_that_is_not_already() -> None:
    before = torch.backends.cudnn.benchmark
    device.prepare(torch.device("cpu"), 0, deterministic=True)
    assert not torch.are_deterministic_algorithms_enabled() and torch.backends.cudnn.benchmark == before
    assert "CUBLAS_WORKSPACE_CONFIG" not in os.environ


@pytest.mark.usefixtures("as_found")
def test_a_cpu_rounds_as_ever_after_a_gpu_that_was_to_add_up_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    queries = torch.randn(2, 3, 50, 64, generator=torch.Generator().manual_seed(0))
    attend = torch.nn.functional.scaled_dot_product_attention
    device.prepare(torch.device("cpu"), 0)
    before = attend(queries, queries, queries)
    for name in ("set_device", "reset_peak_memory_stats"):
        monkeypatch.setattr(torch.cuda, name, lambda device: None)
    monkeypatch.setattr(device, "set_products", lambda kind: None)
    device.prepare(torch.device("cuda", 0), 0, deterministic=True)
    device.prepare(torch.device("cpu"), 0)
    assert attend(queries, queries, queries).equal(before)


def test_the_key_of_what_is_kept_says_how_a_gpu_rounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "A GPU")
    on_cpu = device.Compute(torch.device("cpu"), "fp32").numerics()
    assert set(on_cpu) == {"precision", "torch", "machine"}
    there = {kind: device.Compute(torch.device("cuda", 0), kind).numerics() for kind in ("fp32", "tf32", "bf16")}
    assert [found["float32"] for found in there.values()] == ["ieee", "tf32", "ieee"]
    assert all({"cudnn", "layout", "deterministic", "normalised"} <= set(found) for found in there.values())


@pytest.mark.gpu
def test_a_gpu_gives_what_the_cpu_gives() -> None:
    there = Normalize(MEAN, STD, torch.device("cuda"))
    for colour in (None, maps()):
        assert torch.allclose(there(images(), colour).cpu(), normalize()(images(), colour), atol=1e-5)
