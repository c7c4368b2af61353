import numpy as np
import pytest
import torch
from PIL import Image

from transfer_cli.data.store.device_crops import crop_resize_batch, resize_weights
from transfer_cli.data.views import geometry

HEIGHT, WIDTH, SIZE = 60, 90, 24
BOXES = torch.tensor([[0, 0, 90, 60], [10, 5, 58, 53], [40, 30, 52, 40], [3, 2, 90, 20], [7, 7, 31, 31]])
DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]


def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (len(BOXES), HEIGHT, WIDTH, 3), dtype=np.uint8)


def cropped(boxes: torch.Tensor, device: str = "cpu", flip: torch.Tensor | None = None) -> np.ndarray:
    given = torch.from_numpy(images()).permute(0, 3, 1, 2).to(device)
    made = crop_resize_batch(given, boxes.to(device), SIZE, None if flip is None else flip.to(device))
    assert made.dtype == torch.uint8
    return made.cpu().permute(0, 2, 3, 1).numpy()


@pytest.mark.parametrize("device", DEVICES)
def test_crops_are_pillows_to_a_level(device: str) -> None:
    for made, image, box in zip(cropped(BOXES, device), images(), BOXES.tolist(), strict=True):
        expected = Image.fromarray(image).crop(box).resize((SIZE, SIZE), Image.Resampling.BILINEAR)
        assert np.abs(made.astype(int) - np.asarray(expected)).max() <= 1


def test_crops_are_the_hosts_to_a_level() -> None:
    for made, image, box in zip(cropped(BOXES), images(), BOXES.numpy().astype(float), strict=True):
        expected = geometry.cut(image, box, SIZE, Image.Resampling.BILINEAR)
        assert np.abs(made.astype(int) - expected).max() <= 1


@pytest.mark.parametrize("device", DEVICES)
def test_each_image_is_mirrored_on_its_own(device: str) -> None:
    flip = torch.tensor([True, False, True, False, False])
    plain, made = cropped(BOXES, device), cropped(BOXES, device, flip)
    for row, mirrored in enumerate(flip.tolist()):
        assert np.abs(made[row].astype(int) - plain[row][:, :: -1 if mirrored else 1]).max() <= 1


def test_padding_is_never_seen() -> None:
    given = torch.from_numpy(images()).permute(0, 3, 1, 2)
    padded = torch.nn.functional.pad(given, (0, 30, 0, 50), value=255)
    assert torch.equal(crop_resize_batch(given, BOXES, SIZE), crop_resize_batch(padded, BOXES, SIZE))


def test_fractional_boxes_move_by_fractions_of_a_pixel() -> None:
    """On a ramp a sample's level is its place."""
    ramp = (torch.arange(100, dtype=torch.uint8) * 2).expand(1, 3, 40, 100)
    made = crop_resize_batch(ramp, torch.tensor([[10.25, 5.0, 74.25, 37.0]]), 32)
    expected = 2 * (10.25 + (torch.arange(32) + 0.5) * 2 - 0.5)
    # At the edges the triangle is cut off, as by every such filter.
    assert (made[0, 0, 5, 1:-1] - expected[1:-1]).abs().max() <= 0.5


def test_weights_sum_to_one_and_lie_within_the_interval() -> None:
    weights = resize_weights(torch.tensor([3.0, 0.0, 4.2]), torch.tensor([9.0, 50.0, 4.4]), 50, 7)
    assert weights.shape == (3, 7, 50)
    assert torch.allclose(weights.sum(2), torch.ones(3, 7))
    assert (weights[0, :, :3] == 0).all() and (weights[0, :, 9:] == 0).all()
    assert (weights[2, :, 4] == 1).all()
