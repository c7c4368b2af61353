import math
from dataclasses import asdict, replace

import numpy as np
import pytest
from PIL import Image

from transfer_cli.compose import ConfigSource, compose, conf_dir, to_plain
from transfer_cli.config import Augment, parse
from transfer_cli.data import augment
from transfer_cli.errors import UserError

OFF = Augment("none", None, None, (1.0, 1.0), 0.0, 0.0, 0.0, 0.0)
CROP = replace(OFF, crop_scale=(0.35, 1.0), crop_ratio=(3 / 4, 4 / 3))
N = 4000
BILINEAR = Image.Resampling.BILINEAR


def boxes(params: Augment, width: int, height: int) -> np.ndarray:
    sizes = np.full(N, width), np.full(N, height)
    return augment.crop_boxes(params, 0, 0, np.arange(N), *sizes)


def test_crops_stay_inside_and_cover_the_asked_area_and_ratio() -> None:
    left, top, right, bottom = boxes(CROP, 200, 150).T
    area, ratio = (right - left) * (bottom - top) / (200 * 150), (right - left) / (bottom - top)
    assert min(left.min(), top.min()) >= 0
    assert right.max() <= 200
    assert bottom.max() <= 150
    assert 0.35 - 1e-9 <= area.min() < 0.36
    assert 0.95 < area.max() <= 1
    assert 3 / 4 - 1e-9 <= ratio.min() < 0.77
    assert 1.3 < ratio.max() <= 4 / 3 + 1e-9


def test_small_crops_are_uniform_in_area_log_uniform_in_ratio_and_centred_on_average() -> None:
    """Crops that always fit show the distribution without rejection."""
    left, top, right, bottom = boxes(replace(CROP, crop_scale=(0.1, 0.3)), 100, 100).T
    area, ratio = (right - left) * (bottom - top) / 1e4, (right - left) / (bottom - top)
    assert area.mean() == pytest.approx(0.2, abs=0.005)
    assert area.std() == pytest.approx(0.2 / math.sqrt(12), rel=0.05)
    assert np.log(ratio).mean() == pytest.approx(0, abs=0.012)
    assert ((left + right) / 2).mean() == pytest.approx(50, abs=1.5)
    assert ((top + bottom) / 2).mean() == pytest.approx(50, abs=1.5)


def test_where_nothing_fits_the_largest_centred_crop_is_taken() -> None:
    wide = boxes(replace(CROP, crop_scale=(0.9, 1.0)), 1000, 100)
    assert np.allclose(wide, [500 - 200 / 3, 0, 500 + 200 / 3, 100])


def test_whole_square_image_is_the_crop_of_scale_one() -> None:
    assert np.allclose(boxes(replace(CROP, crop_scale=(1.0, 1.0), crop_ratio=(1.0, 1.0)), 8, 8), [0, 0, 8, 8])


@pytest.mark.parametrize(("size", "expected"), [((400, 300), (32, 24)), ((300, 600), (24, 48)), ((23, 99), (23, 99))])
def test_source_keeps_aspect_and_is_never_enlarged(size: tuple[int, int], expected: tuple[int, int]) -> None:
    source = augment.train_source(Image.new("RGB", size), 16, BILINEAR, 1.5)
    assert source.shape == (expected[1], expected[0], 3)


def random_sources(count: int) -> list[np.ndarray]:
    random = np.random.default_rng(0)
    return [random.integers(0, 256, (20 + k, 30 - k, 3), dtype=np.uint8) for k in range(count)]


FULL = replace(CROP, flip=0.5, brightness=0.4, contrast=0.4, saturation=0.4)


def test_a_view_depends_on_seed_view_and_sample_alone() -> None:
    sources, indices = random_sources(6), np.arange(10, 16)
    together = augment.make_views(sources, FULL, 1, 2, indices, 16, BILINEAR)
    alone = augment.make_views([sources[4]], FULL, 1, 2, indices[4:5], 16, BILINEAR)
    assert np.array_equal(together[4], alone[0])
    for seed, view in ((1, 3), (2, 2)):
        assert not np.array_equal(together, augment.make_views(sources, FULL, seed, view, indices, 16, BILINEAR))


def test_flip_mirrors_the_asked_share() -> None:
    assert augment.flips(replace(OFF, flip=0.3), 0, 0, np.arange(N)).mean() == pytest.approx(0.3, abs=0.03)
    sources = [np.arange(4 * 4 * 3, dtype=np.uint8).reshape(4, 4, 3)]
    for flip, expected in ((0.0, sources[0]), (1.0, sources[0][:, ::-1])):
        made = augment.make_views(sources, replace(OFF, flip=flip), 0, 0, np.arange(1), 4, BILINEAR)
        assert np.array_equal(made[0], expected)


def test_colour_factors_lie_around_one_and_are_absent_when_off() -> None:
    assert augment.colour_factors(OFF, 0, 0, np.arange(3)) is None
    factors = augment.colour_factors(replace(OFF, brightness=0.2, saturation=0.5), 0, 0, np.arange(N))
    assert factors is not None
    assert (factors[:, 1] == 1).all()
    for column, strength in ((0, 0.2), (2, 0.5)):
        assert factors[:, column].min() == pytest.approx(1 - strength, abs=0.01)
        assert factors[:, column].max() == pytest.approx(1 + strength, abs=0.01)


@pytest.mark.parametrize("name", ["brightness", "contrast", "saturation"])
@pytest.mark.parametrize("factor", [0.5, 1.0, 1.4])
def test_jitter_agrees_with_torchvision(name: str, factor: float) -> None:
    import torch
    from torchvision.transforms import functional

    pixels = random_sources(1)[0]
    factors = np.array([factor if key == name else 1.0 for key in ("brightness", "contrast", "saturation")], np.float32)
    image = torch.from_numpy(pixels).permute(2, 0, 1)
    expected = getattr(functional, f"adjust_{name}")(image, factor).permute(1, 2, 0).numpy()
    # torchvision truncates where we round, and rounds the grey it mixes in
    assert np.abs(augment.jitter(pixels, factors).astype(int) - expected.astype(int)).max() <= 1


def test_views_repeat_after_k_epochs() -> None:
    assert [augment.view_of(epoch, replace(OFF, views=3)) for epoch in range(5)] == [0, 1, 2, 0, 1]
    assert augment.view_of(17, OFF) == 17


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("views", 0),
        ("crop_scale", (0.0, 1.0)),
        ("crop_scale", (0.9, 0.5)),
        ("crop_scale", (0.5, 1.5)),
        ("crop_ratio", (2.0, 1.0)),
        ("flip", 1.5),
        ("contrast", -0.1),
        ("brightness", float("nan")),
    ],
)
def test_impossible_values_name_their_key(key: str, value: object) -> None:
    composed = to_plain(compose(ConfigSource(conf_dir(), "config", None), []))
    composed["augment"] = {**asdict(OFF), key: value}
    with pytest.raises(UserError, match=rf"augment\.{key}="):
        parse(composed)
