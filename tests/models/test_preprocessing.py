"""Evaluation pixels of extreme shapes; ordinary ones are compared with torchvision's where weights are tested."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from transfer_cli.data.store import formats
from transfer_cli.models import preprocessing
from transfer_cli.models.preprocessing import Preprocessing


def wanted(interpolation: str = "bilinear") -> Preprocessing:
    return Preprocessing(32, 36, interpolation, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


@pytest.mark.parametrize("size", [(400, 5), (5, 400), (37, 300), (900, 50), (36, 80)])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic", "lanczos"])
def test_what_is_too_long_is_cropped_first_and_looks_the_same(
    monkeypatch: pytest.MonkeyPatch, size: tuple[int, int], interpolation: str
) -> None:
    rows, columns = np.mgrid[: size[1], : size[0]]
    waves = 127 + 120 * np.sin(rows / 9) * np.cos(columns / 7)
    image = Image.fromarray(np.dstack([waves, waves.max() - waves, waves / 2]).astype(np.uint8))
    long_way = wanted(interpolation).pixels(image).astype(int)
    monkeypatch.setattr(preprocessing, "MAX_PIXELS", 0)
    assert np.abs(wanted(interpolation).pixels(image) - long_way).max() <= 3


def test_a_line_of_pixels_does_not_fill_the_memory() -> None:
    """36 x 216,000,000 pixels on the long way: 23 gigabytes."""
    line = Image.new("RGB", (6_000_000, 1), (10, 20, 30))
    assert wanted().pixels(line)[0, 0].tolist() == [10, 20, 30]


def test_the_colour_around_a_padded_picture_is_part_of_what_its_pixels_are_kept_by() -> None:
    one = replace(wanted(), fit="pad")
    other = replace(one, mean=(0.1, 0.2, 0.3))
    assert formats.evaluation(one).spec != formats.evaluation(other).spec
    assert formats.evaluation(wanted()).spec == formats.evaluation(replace(wanted(), mean=other.mean)).spec
