"""Photos, and a store that is opened for them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from tests.data.store.opening import Opening
from transfer_cli.models.preprocessing import Preprocessing


@pytest.fixture
def folder(tmp_path: Path, make_images: Callable[..., list[Path]]) -> Path:
    """Two classes of 20 images, each of another size."""
    for name in ("a", "b"):
        for number, file in enumerate(make_images(tmp_path / "photos" / name, 20, size=(60, 40))):
            Image.open(file).crop((0, 0, 60 - number, 40)).save(file)
    return tmp_path / "photos"


@pytest.fixture
def opening(tmp_path: Path, preprocessing: Preprocessing) -> Opening:
    return Opening(preprocessing, tmp_path / "cache")
