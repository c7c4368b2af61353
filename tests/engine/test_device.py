"""Pixels arrive normalised, and as the same bits whatever travels beside them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from transfer_cli.data.batches import Batch
from transfer_cli.engine.device import Normalize, PixelsToDevice

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SIZE = 67
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


@pytest.mark.gpu
def test_a_gpu_gives_what_the_cpu_gives() -> None:
    there = Normalize(MEAN, STD, torch.device("cuda"))
    for colour in (None, maps()):
        assert torch.allclose(there(images(), colour).cpu(), normalize()(images(), colour), atol=1e-5)
