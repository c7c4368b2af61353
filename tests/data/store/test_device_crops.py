"""Crops by products of matrices are those that the host cuts, to a level of 255."""

import numpy as np
import pytest
import torch
from PIL import Image

from transfer_cli.data.store.device_crops import FILTERS, Cuts, crop_resize_batch, resize_weights
from transfer_cli.data.views import geometry
from transfer_cli.models.preprocessing import RESAMPLING

HEIGHT, WIDTH, SIZE = 60, 90, 24
BOXES = np.array([[0, 0, 90, 60], [10, 5, 58, 53], [40, 30, 52, 40], [3, 2, 90, 20], [7, 7, 31, 31]], float)
TINY = np.array([[3.7, 4.2, 8.1, 7.9], [84.5, 0, 90, 5.2], [0, 55.5, 5.5, 60], [40.2, 30.1, 41, 31.3], [9, 9, 10, 10]])
DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]


def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (len(BOXES), HEIGHT, WIDTH, 3), dtype=np.uint8)


def cuts(boxes: np.ndarray, flips: torch.Tensor | None = None) -> Cuts:
    """As a store makes them."""
    sides = (np.full(len(boxes), side) for side in (WIDTH, HEIGHT))
    edges, limits = geometry.edges(boxes, SIZE), geometry.limits(boxes, SIZE, *sides)
    flips = torch.zeros(len(boxes), 2, dtype=torch.bool) if flips is None else flips
    return Cuts(torch.from_numpy(edges).float(), torch.from_numpy(limits).int(), flips)


def cropped(
    boxes: np.ndarray, interpolation: str, device: str = "cpu", flips: torch.Tensor | None = None
) -> np.ndarray:
    given = torch.from_numpy(images()).permute(0, 3, 1, 2).to(device)
    there = Cuts(*(tensor.to(device) for tensor in cuts(boxes, flips)))
    made = crop_resize_batch(given, there, SIZE, interpolation)
    assert made.dtype == torch.uint8
    return made.cpu().permute(0, 2, 3, 1).numpy().astype(int)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("interpolation", FILTERS)
def test_crops_are_pillows_to_a_level(interpolation: str, device: str) -> None:
    """Noise overshoots between the two passes of a cubic: what is cut off there, the second must not see."""
    for made, image, box in zip(cropped(BOXES, interpolation, device), images(), BOXES.tolist(), strict=True):
        expected = Image.fromarray(image).crop(tuple(box)).resize((SIZE, SIZE), RESAMPLING[interpolation])
        gaps = np.abs(made - np.asarray(expected))
        assert gaps.max() <= 1 and (gaps > 0).mean() < 0.08


@pytest.mark.parametrize("boxes", [BOXES, TINY], ids=["whole pixels", "tiny"])
@pytest.mark.parametrize("interpolation", FILTERS)
def test_crops_are_the_hosts_to_a_level(interpolation: str, boxes: np.ndarray) -> None:
    for made, image, box in zip(cropped(boxes, interpolation), images(), boxes, strict=True):
        expected = geometry.cut(image, box, SIZE, RESAMPLING[interpolation])
        gaps = np.abs(made - expected)
        assert gaps.max() <= 1 and (gaps > 0).mean() < 0.08


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("interpolation", FILTERS)
def test_each_image_is_mirrored_on_its_own(interpolation: str, device: str) -> None:
    flips = torch.tensor([[True, False], [False, False], [True, True], [False, True], [False, False]])
    plain, made = (cropped(BOXES, interpolation, device, some) for some in (None, flips))
    for row, (across, down) in enumerate(flips.tolist()):
        assert np.abs(made[row] - plain[row][:: -1 if down else 1, :: -1 if across else 1]).max() <= 1


@pytest.mark.parametrize("interpolation", FILTERS)
def test_padding_is_never_seen(interpolation: str) -> None:
    given = torch.from_numpy(images()).permute(0, 3, 1, 2)
    padded = torch.nn.functional.pad(given, (0, 30, 0, 50), value=255)
    for boxes in (BOXES, TINY):
        made, same = (crop_resize_batch(these, cuts(boxes), SIZE, interpolation) for these in (given, padded))
        assert torch.equal(made, same)


@pytest.mark.parametrize("interpolation", FILTERS)
def test_fractional_boxes_move_by_fractions_of_a_pixel(interpolation: str) -> None:
    """On a ramp a sample's level is its place."""
    ramp = (torch.arange(100, dtype=torch.uint8) * 2).expand(1, 3, 40, 100)
    where = Cuts(
        torch.tensor([[10.25, 5.0, 74.25, 37.0]]), torch.tensor([[10, 5, 75, 37]]), torch.zeros(1, 2, dtype=torch.bool)
    )
    made = crop_resize_batch(ramp, where, 32, interpolation)
    expected = 2 * (10.25 + (torch.arange(32) + 0.5) * 2 - 0.5)
    # At the edges the filter is cut off, as by every such filter.
    assert (made[0, 0, 5, 2:-2] - expected[2:-2]).abs().max() <= 0.5


@pytest.mark.parametrize("interpolation", FILTERS)
def test_weights_sum_to_one_and_lie_within_the_limits(interpolation: str) -> None:
    edges = torch.tensor([3.0, 0.0, 4.2]), torch.tensor([9.0, 50.0, 4.4])
    limits = torch.tensor([3, 0, 4]), torch.tensor([9, 50, 5])
    weights = resize_weights(edges, limits, 50, 7, interpolation)
    assert weights.shape == (3, 7, 50)
    assert torch.allclose(weights.sum(2), torch.ones(3, 7))
    assert (weights[0, :, :3] == 0).all() and (weights[0, :, 9:] == 0).all()
    assert (weights[2, :, 4] == 1).all()
