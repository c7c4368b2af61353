import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from transfer_cli.config.schema import Augment
from transfer_cli.data.views import colour

OFF = Augment("none")
N = 10_000
NAMES = ("brightness", "contrast", "saturation")
GREY = np.array([0.299, 0.587, 0.114])


def pixels(low: int = 0, high: int = 256, size: int = 24) -> np.ndarray:
    return np.random.default_rng(1).integers(low, high, (size, size, 3), dtype=np.uint8)


def mapped(image: np.ndarray, factors: tuple[float, float, float]) -> np.ndarray:
    maps = colour.maps(np.array([factors]), colour.channel_sums(image)[None], image.shape[0] * image.shape[1])
    return colour.shown(image[None], maps)[0]


def torchvision(image: np.ndarray, name: str, factor: float) -> np.ndarray:
    from torchvision.transforms.v2 import functional

    tensor = torch.from_numpy(image).permute(2, 0, 1)
    return getattr(functional, f"adjust_{name}")(tensor, factor).permute(1, 2, 0).numpy()


def test_factors_are_uniform_around_one_and_independent() -> None:
    strengths = {"brightness": 0.2, "contrast": 0.4, "saturation": 0.9}
    drawn = colour.factors(replace(OFF, **strengths), 0, 0, np.arange(N))
    assert drawn is not None
    for column, strength in zip(drawn.T, strengths.values(), strict=True):
        assert column.min() == pytest.approx(1 - strength, abs=0.001)
        assert column.max() == pytest.approx(1 + strength, abs=0.001)
        assert column.mean() == pytest.approx(1, abs=5 * strength / math.sqrt(3 * N))
        assert column.std() == pytest.approx(strength / math.sqrt(3), rel=0.02)
    later = colour.factors(replace(OFF, **strengths), 0, 1, np.arange(N))
    related = np.corrcoef(np.concatenate([drawn, np.roll(drawn, 1, axis=0), later], axis=1).T)
    assert np.abs(related - np.eye(9)).max() < 5 / math.sqrt(N)


def test_what_is_off_draws_nothing() -> None:
    assert colour.factors(OFF, 0, 0, np.arange(3)) is None
    assert colour.hue_shifts(OFF, 0, 0, np.arange(3)) is None
    drawn = colour.factors(replace(OFF, brightness=0.5), 0, 0, np.arange(50))
    assert drawn is not None
    assert (drawn[:, 1:] == 1).all()


def test_the_asked_share_goes_grey() -> None:
    drawn = colour.factors(replace(OFF, grayscale=0.2, saturation=0.5), 0, 0, np.arange(N))
    assert drawn is not None
    assert (drawn[:, 2] == 0).mean() == pytest.approx(0.2, abs=0.02)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("factor", [0.0, 0.5, 1.0, 1.4])
def test_one_change_agrees_with_torchvision_clipping_included(name: str, factor: float) -> None:
    factors = tuple(factor if key == name else 1.0 for key in NAMES)
    image = pixels()
    # torchvision truncates where we round, and rounds the grey it mixes in.
    assert np.abs(mapped(image, factors).astype(int) - torchvision(image, name, factor)).max() <= 1


def test_three_changes_agree_with_torchvision_in_any_order_where_it_does_not_clip() -> None:
    image, factors = pixels(70, 180), {"brightness": 1.2, "contrast": 0.8, "saturation": 1.3}
    ours = mapped(image, tuple(factors.values()))
    for order in itertools.permutations(NAMES):
        theirs = image
        for name in order:
            theirs = torchvision(theirs, name, factors[name])
        assert np.abs(ours.astype(int) - theirs).max() <= 3, order  # its rounding, thrice


def test_grey_is_torchvisions() -> None:
    from torchvision.transforms.v2 import functional

    image = pixels()
    theirs = functional.rgb_to_grayscale(torch.from_numpy(image).permute(2, 0, 1), 3).permute(1, 2, 0).numpy()
    assert np.abs(mapped(image, (1.0, 1.0, 0.0)).astype(int) - theirs).max() <= 1


def test_the_map_is_the_product_of_three_formulas() -> None:
    image = pixels()
    b, c, s = 1.3, 0.6, 1.7
    values = image * b
    values = c * values + (1 - c) * (values @ GREY).mean()
    values = s * values + (1 - s) * (values @ GREY)[..., None]
    maps = colour.maps(np.array([[b, c, s]]), colour.channel_sums(image)[None], 24 * 24)[0]
    assert maps.dtype == np.float32
    assert image @ maps[:, :3].T + maps[:, 3] == pytest.approx(values, abs=1e-3)


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_a_device_makes_the_maps_that_the_host_makes(device: str) -> None:
    draw = np.random.default_rng(2)
    factors, sums = draw.uniform(0, 2, (N, 3)), draw.integers(0, 255 * 224**2, (N, 3))
    factors[: N // 2, 2] = 0
    luma = colour.luma_there(torch.device(device))
    made = colour.maps_there(*(torch.from_numpy(one).to(device) for one in (factors, sums)), 224**2, luma)
    assert made.dtype == torch.float32 and made.device.type == device
    np.testing.assert_array_max_ulp(made.cpu().numpy(), colour.maps(factors, sums, 224**2), maxulp=1)


def test_channel_sums_are_exact_where_small_integers_would_overflow() -> None:
    white = np.full((700, 300, 3), 255, np.uint8)
    assert colour.channel_sums(white).tolist() == [700 * 300 * 255] * 3
    image = pixels()
    assert colour.channel_sums(image).tolist() == image.astype(np.int64).sum(axis=(0, 1)).tolist()


def test_hue_shifts_are_uniform_in_whole_steps() -> None:
    shifts = colour.hue_shifts(replace(OFF, hue=0.1), 0, 0, np.arange(N))
    assert shifts is not None
    assert set(shifts) == set(range(-25, 26))
    assert shifts.mean() == pytest.approx(0, abs=5 * 14.7 / math.sqrt(N))


@pytest.mark.parametrize("shift", [-127, -25, 0, 12, 127])
def test_hue_is_torchvisions(shift: int) -> None:
    from torchvision.transforms.v2 import functional

    image = pixels()
    theirs = functional.adjust_hue(Image.fromarray(image), math.copysign(abs(shift) + 0.5, shift) / 255)
    assert np.array_equal(colour.shift_hue(image, shift), np.asarray(theirs))
