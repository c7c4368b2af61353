import math
import threading
import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from transfer_cli.config.schema import Augment
from transfer_cli.data.views import geometry

OFF = Augment("none")
CROP = replace(OFF, crop_scale=(0.35, 1.0), crop_ratio=(3 / 4, 4 / 3))
N = 10_000
FIVE_SIGMA = 5 / math.sqrt(N)
BILINEAR, BICUBIC = Image.Resampling.BILINEAR, Image.Resampling.BICUBIC


def boxes(params: Augment, width: int, height: int, view: int = 0) -> np.ndarray:
    return geometry.crop_boxes(params, 0, view, np.arange(N), np.full(N, width), np.full(N, height))


def noise(width: int, height: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def most_different(one: np.ndarray, other: np.ndarray) -> int:
    return int(np.abs(one.astype(int) - other.astype(int)).max())


def assert_uniform(values: np.ndarray, low: float, high: float) -> None:
    counts, _ = np.histogram(values, bins=20, range=(low, high))
    assert counts.sum() == len(values)
    assert ((counts - len(values) / 20) ** 2 / (len(values) / 20)).sum() < 50  # chi-square of 19: p about 1e-4


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


def test_crops_that_always_fit_are_uniform_in_area_log_ratio_and_place() -> None:
    left, top, right, bottom = boxes(replace(CROP, crop_scale=(0.1, 0.3)), 100, 100).T
    width, height = right - left, bottom - top
    assert_uniform(width * height / 1e4, 0.1, 0.3)
    assert_uniform(np.log(width / height), math.log(3 / 4), math.log(4 / 3))
    assert_uniform(left / (100 - width), 0, 1)
    assert_uniform(top / (100 - height), 0, 1)


def test_crops_are_independent_between_samples_and_views() -> None:
    here, there = boxes(CROP, 120, 100), boxes(CROP, 120, 100, view=1)
    for column in range(4):
        for other in (there[:, column], np.roll(here[:, column], 1)):
            assert abs(np.corrcoef(here[:, column], other)[0, 1]) < FIVE_SIGMA


def test_area_and_aspect_are_distributed_as_torchvisions() -> None:
    """Rejection included: quartiles of both agree."""
    from torchvision.transforms import RandomResizedCrop

    torch.manual_seed(0)
    image = torch.empty(3, 100, 140)
    drawn = [RandomResizedCrop.get_params(image, [0.35, 1.0], [3 / 4, 4 / 3]) for _ in range(N)]
    theirs = np.array(drawn)[:, 2:]
    ours = boxes(CROP, 140, 100)
    sides = np.stack([ours[:, 3] - ours[:, 1], ours[:, 2] - ours[:, 0]], axis=1)
    for f in (lambda s: s[:, 0] * s[:, 1] / 14000, lambda s: s[:, 1] / s[:, 0]):
        quartiles = [np.quantile(f(s), [0.1, 0.25, 0.5, 0.75, 0.9]) for s in (sides, theirs)]
        assert quartiles[0] == pytest.approx(quartiles[1], abs=0.02)


def test_where_nothing_fits_the_largest_crop_is_taken_anywhere() -> None:
    left, top, right, bottom = boxes(replace(CROP, crop_scale=(0.9, 1.0)), 1000, 100).T
    assert np.allclose(right - left, 400 / 3)
    assert (top == 0).all() and (bottom == 100).all()
    assert_uniform(left, 0, 1000 - 400 / 3)


def test_whole_square_image_is_the_crop_of_scale_one() -> None:
    assert np.allclose(boxes(replace(CROP, crop_scale=(1.0, 1.0), crop_ratio=(1.0, 1.0)), 8, 8), [0, 0, 8, 8])


@pytest.mark.parametrize(("name", "resample"), [("bilinear", BILINEAR), ("bicubic", BICUBIC)])
@pytest.mark.parametrize("box", [(3, 5, 80, 70), (0, 0, 100, 75), (40, 10, 80, 40)])
def test_cut_agrees_with_torchvision_and_pillow(name: str, resample: Image.Resampling, box: tuple[int, ...]) -> None:
    from torchvision.transforms.v2 import InterpolationMode, functional

    source = noise(100, 75)
    left, top, right, bottom = box
    made = geometry.cut(source, np.array(box, float), 48, resample)
    image = torch.from_numpy(source).permute(2, 0, 1)
    theirs = functional.resized_crop(
        image, top, left, bottom - top, right - left, [48, 48], InterpolationMode(name), antialias=True
    )
    assert np.array_equal(made, theirs.permute(1, 2, 0).numpy())
    pillow = Image.fromarray(source[top:bottom, left:right]).resize((48, 48), resample)
    assert most_different(made, np.asarray(pillow)) <= 2


def test_edges_are_rounded_on_large_sources_and_kept_on_small_ones() -> None:
    source = noise(60, 60)
    for box, same in (([3.4, 5.3, 40.2, 50.1], True), ([3.4, 5.3, 10.2, 12.1], False)):
        exact, rounded = (geometry.cut(source, np.array(edges), 32, BILINEAR) for edges in (box, np.rint(box)))
        assert np.array_equal(exact, rounded) is same
    exact = geometry.cut(source, np.array([3.4, 5.3, 10.2, 12.1]), 32, BILINEAR)
    assert np.array_equal(exact, np.asarray(Image.fromarray(source).resize((32, 32), BILINEAR, (3.4, 5.3, 10.2, 12.1))))


@pytest.mark.parametrize("resample", list(Image.Resampling)[:4])
def test_cut_takes_read_only_sources_and_slivers(resample: Image.Resampling) -> None:
    source = noise(300, 2)
    source.flags.writeable = False
    assert geometry.cut(source, np.array([10.2, 0.4, 200.0, 0.6]), 16, resample).shape == (16, 16, 3)


def test_turns_are_uniform_to_either_side() -> None:
    assert geometry.turns(OFF, 0, 0, np.arange(3)) is None
    turns = geometry.turns(replace(OFF, rotate=30, shear=10), 0, 0, np.arange(N))
    assert turns is not None
    assert_uniform(turns[:, 0], -30, 30)
    assert_uniform(turns[:, 1], -10, 10)
    assert abs(np.corrcoef(turns.T)[0, 1]) < FIVE_SIGMA


def test_no_turn_is_the_plain_cut() -> None:
    """Up to the sharpness that resampling twice costs: on a smooth picture."""
    source = np.asarray(Image.fromarray(noise(10, 8)).resize((100, 80), BICUBIC))
    box = np.array([10.0, 5.0, 70.0, 65.0])
    turned, plain = geometry.cut_turned(source, box, np.zeros(2), 40, BILINEAR), geometry.cut(source, box, 40, BILINEAR)
    assert most_different(turned, plain) <= 6
    assert np.abs(turned.astype(int) - plain).mean() < 1.5


@pytest.mark.parametrize(("degrees", "turns"), [(90.0, 1), (-90.0, -1), (180.0, 2)])
def test_right_angles_are_rotations_of_the_array(degrees: float, turns: int) -> None:
    source = noise(32, 32)
    made = geometry.cut_turned(source, np.array([0.0, 0, 32, 32]), np.array([degrees, 0]), 32, BILINEAR)
    # Pillow's transform cuts fractions off: a last bit of rounding may cost a level.
    assert most_different(made, np.rot90(source, turns)) <= 1


def test_a_turned_cut_samples_where_the_formula_says() -> None:
    """On a ramp a pixel's level is its place: rotation after shear after the box's own scale, about its centre."""
    width, height, size = 240, 200, 50
    columns, rows = np.meshgrid(np.arange(width), np.arange(height))
    source = np.stack([columns, rows, columns * 0], axis=2).astype(np.uint8)
    box, angle, slope = np.array([70.0, 60.0, 170.0, 130.0]), math.radians(20), math.tan(math.radians(12))
    made = geometry.cut_turned(source, box, np.array([20.0, 12.0]), size, BILINEAR)
    x, y = np.meshgrid(*[(np.arange(size) + 0.5) / size - 0.5] * 2)
    x, y = x * 100 + slope * y * 70, y * 70
    x, y = x * math.cos(angle) - y * math.sin(angle), x * math.sin(angle) + y * math.cos(angle)
    expected = np.stack([x + 120, y + 95], axis=2) - 0.5
    wrong = made[..., :2] - expected
    assert np.abs(wrong).max() < 1.5  # rounded once, cut off once
    assert np.abs(wrong.mean(axis=(0, 1))).max() < 0.6


def test_turned_corners_beyond_the_image_are_grey() -> None:
    source = np.zeros((32, 32, 3), np.uint8)
    made = geometry.cut_turned(source, np.array([0.0, 0, 32, 32]), np.array([45.0, 0]), 32, BILINEAR)
    assert (made[0, 0] == geometry.FILL).all()
    assert (made[16, 16] == 0).all()


def test_flips_mirror_the_asked_share_independently() -> None:
    flips = geometry.flips(replace(OFF, flip=0.3, vertical_flip=0.6), 0, 0, np.arange(N))
    assert flips.mean(axis=0) == pytest.approx([0.3, 0.6], abs=0.025)
    assert abs(np.corrcoef(flips.T)[0, 1]) < FIVE_SIGMA
    assert not geometry.flips(OFF, 0, 0, np.arange(N)).any()


@pytest.mark.parametrize("across", [False, True])
@pytest.mark.parametrize("down", [False, True])
def test_flips_write_the_mirrored_array(across: bool, down: bool) -> None:
    pixels, out = noise(6, 6), np.empty((6, 6, 3), np.uint8)
    geometry.write_flipped(pixels, np.array([across, down]), out)
    assert np.array_equal(out, pixels[:: -1 if down else 1, :: -1 if across else 1])


def longest_pause_of_python(work: Callable[[], object]) -> float:
    """The longest time that this thread stood still while another did `work`, as a share of that work's time."""
    span: list[float] = []

    def timed() -> None:
        span.append(time.perf_counter())
        work()
        span.append(time.perf_counter())

    thread, stamps = threading.Thread(target=timed), []
    thread.start()
    while thread.is_alive():
        stamps.append(time.perf_counter())
    inside = [span[0], *(stamp for stamp in stamps if span[0] < stamp < span[1]), span[1]]
    return float(np.diff(inside).max()) / (span[1] - span[0])


def test_cutting_lets_other_threads_run() -> None:
    """One try is enough: with the interpreter's lock held the pause is the whole work, every time."""
    source, box = noise(4000, 3000), np.array([0.0, 0.0, 4000.0, 3000.0])
    tries = (longest_pause_of_python(lambda: geometry.cut(source, box, 1500, BILINEAR)) for _ in range(20))
    assert any(pause < 0.5 for pause in tries)
