"""Small images on disk, in the layouts that users have."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from transfer_cli.models.preprocessing import Preprocessing


@pytest.fixture
def make_images() -> Callable[..., list[Path]]:
    """make_images(folder, count): writes distinct PNGs 0.png, 1.png, ... and returns their paths."""
    random = np.random.default_rng(0)

    def make(folder: Path, count: int, size: tuple[int, int] = (20, 16)) -> list[Path]:
        folder.mkdir(parents=True, exist_ok=True)
        files = [folder / f"{number}.png" for number in range(count)]
        for file in files:
            pixels = random.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
            Image.fromarray(pixels).save(file)
        return files

    return make


@pytest.fixture
def preprocessing() -> Preprocessing:
    return Preprocessing(
        crop_pixels=16, resize_pixels=18, interpolation="bilinear", mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)
    )
