import math
from dataclasses import replace

import numpy as np
import pytest

from transfer_cli.config.schema import Augment
from transfer_cli.data.views import erasing

ALWAYS = Augment("none", erase=1.0, erase_scale=(0.02, 0.3))
N, SIZE = 10_000, 200


def sides(rectangles: np.ndarray) -> np.ndarray:
    return rectangles[:, 2:] - rectangles[:, :2]


def test_rectangles_lie_inside_and_have_the_asked_area_and_ratio() -> None:
    found = erasing.rectangles(ALWAYS, 0, 0, np.arange(N), SIZE)
    assert found.min() >= 0 and found.max() <= SIZE
    width, height = sides(found).T
    share = width * height / SIZE**2
    # Sides are whole pixels; the largest narrow ones do not fit and are drawn again, which lowers the mean a little.
    assert 0.018 < share.min() < 0.022
    assert 0.29 < share.max() < 0.305
    assert share.mean() == pytest.approx(0.16, abs=0.01)
    assert np.log(width / height).mean() == pytest.approx(0, abs=5 * 0.7 / math.sqrt(N))
    centres = (found[:, :2] + found[:, 2:]) / 2
    assert centres.mean(axis=0) == pytest.approx([SIZE / 2, SIZE / 2], abs=2.5)


def test_rectangles_differ_between_samples_and_views() -> None:
    here, there = (erasing.rectangles(ALWAYS, 0, view, np.arange(N), SIZE) for view in (0, 1))
    for column in range(4):
        for other in (there[:, column], np.roll(here[:, column], 1)):
            assert abs(np.corrcoef(here[:, column], other)[0, 1]) < 5 / math.sqrt(N)


def test_the_asked_share_is_erased() -> None:
    found = erasing.rectangles(replace(ALWAYS, erase=0.25), 0, 0, np.arange(N), SIZE)
    erased = sides(found).min(axis=1) > 0
    assert erased.mean() == pytest.approx(0.25, abs=0.02)
    assert found[erased].mean() == pytest.approx(SIZE / 2, abs=4)  # whether is independent of where


def test_the_rectangle_becomes_uniform_noise_and_nothing_else_changes() -> None:
    pixels = np.full((SIZE, SIZE, 3), 7, np.uint8)
    erasing.erase(pixels, np.array([10, 20, 110, 180]), 0, 0, 5)
    inside = pixels[20:180, 10:110].copy()
    pixels[20:180, 10:110] = 7
    assert (pixels == 7).all()
    counts = np.bincount(inside.ravel(), minlength=256)
    assert ((counts - inside.size / 256) ** 2 / (inside.size / 256)).sum() < 350  # 255 degrees of freedom
    channels = inside.reshape(-1, 3).astype(float).T
    assert np.abs(np.corrcoef(channels) - np.eye(3)).max() < 5 / math.sqrt(160 * 100)


@pytest.mark.parametrize("changed", [(1, 0, 5), (0, 1, 5), (0, 0, 6)])
def test_noise_depends_on_seed_view_and_sample(changed: tuple[int, int, int]) -> None:
    images = []
    for key in ((0, 0, 5), (0, 0, 5), changed):
        images.append(np.zeros((8, 8, 3), np.uint8))
        erasing.erase(images[-1], np.array([0, 0, 8, 8]), *key)
    assert np.array_equal(images[0], images[1])
    assert (images[0] == images[2]).mean() < 0.1


def test_an_empty_rectangle_erases_nothing() -> None:
    pixels = np.zeros((8, 8, 3), np.uint8)
    erasing.erase(pixels, np.array([3, 3, 3, 3]), 0, 0, 0)
    assert (pixels == 0).all()
