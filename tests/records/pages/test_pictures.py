"""Thumbnails show the colours of their images, whatever the channels."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from PIL import Image

from transfer_cli.records.pages.pictures import thumbnail


def shown(uri: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))


@pytest.mark.parametrize(("channels", "colour"), [(1, (200, 200, 200)), (3, (200, 100, 0)), (5, (200, 100, 0))])
def test_a_thumbnail_has_the_colours_of_its_image(channels: int, colour: tuple[int, int, int]) -> None:
    pixels = np.broadcast_to(np.array([200, 100, 0, 7, 9], np.uint8)[:channels], (40, 60, channels))
    small = thumbnail(pixels)
    assert small.startswith("data:image/png"), "each pixel is to be seen"
    assert shown(small).size == (60, 40) and shown(small).getpixel((3, 3)) == colour
    large = thumbnail(pixels.repeat(10, axis=0).repeat(10, axis=1))
    assert large.startswith("data:image/jpeg")
    assert shown(large).size == (160, 107)
    assert shown(large).getpixel((3, 3)) == pytest.approx(colour, abs=3)
