"""Corruptions change pictures, the more the severer, and keep their shape."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from transfer_cli.methods.corruptions import CORRUPTIONS, SEVERITIES


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_severer_is_further_from_the_picture(name: str) -> None:
    rng = np.random.default_rng(0)
    coarse = Image.fromarray(rng.integers(0, 200, (13, 13, 3), dtype=np.uint8)).resize((112, 112))
    pixels = np.asarray(coarse) + rng.integers(0, 40, (112, 112, 3), dtype=np.uint8)
    distances = []
    for severity in SEVERITIES:
        found = CORRUPTIONS[name](pixels, severity, np.random.default_rng(1))
        assert found.shape == pixels.shape and found.dtype == np.uint8
        assert np.array_equal(found, CORRUPTIONS[name](pixels, severity, np.random.default_rng(1)))
        distances.append(float(np.abs(found.astype(float) - pixels).mean()))
    assert distances[0] > 0
    assert distances == sorted(distances)
