"""Views of more or fewer channels than three: each is cut, turned and mirrored like any other."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from transfer_cli.config.schema import Augment
from transfer_cli.data.views.augment import make_views, train_source
from transfer_cli.data.views.geometry import Pixels
from transfer_cli.models.bands import Bands
from transfer_cli.models.preprocessing import Preprocessing

INDICES = np.arange(6)
CROPS = Augment("x", crop_scale=(0.3, 1.0), flip=0.5, vertical_flip=0.5)
TURNED = replace(CROPS, rotate=40, shear=10)
RESAMPLING = [Image.Resampling.BILINEAR, Image.Resampling.BICUBIC, Image.Resampling.LANCZOS]


def sources(channels: int) -> list[Pixels]:
    """Images of which the first channels are the same for any number."""
    random = np.random.default_rng(0)
    return [random.integers(0, 256, (6, 40, 50), dtype=np.uint8).transpose(1, 2, 0)[..., :channels] for _ in INDICES]


def views(channels: int, params: Augment, resample: Image.Resampling) -> Pixels:
    return make_views(sources(channels), params, 0, 3, INDICES, 24, resample).pixels


@pytest.mark.parametrize("resample", RESAMPLING)
@pytest.mark.parametrize("params", [CROPS, TURNED], ids=["crops", "turns"])
def test_channels_do_not_touch_each_other(params: Augment, resample: Image.Resampling) -> None:
    rgb = views(3, params, resample).astype(int)
    for channels in (1, 2, 4, 6):
        found = views(channels, params, resample)
        assert found.shape == (6, 24, 24, channels)
        shared = min(channels, 3)
        # torch's kernels round otherwise where channels do not lie three by three.
        assert abs(found[..., :shared].astype(int) - rgb[..., :shared]).max() <= 1


def test_noise_fills_all_channels_each_with_its_own() -> None:
    noisy, plain = views(5, replace(CROPS, erase=1.0), RESAMPLING[0]), views(5, CROPS, RESAMPLING[0])
    erased = noisy != plain
    assert (noisy[erased.all(axis=3)].std(axis=1) > 0).all()
    shares = erased.mean(axis=(0, 1, 2))
    assert shares.min() > 0.05 and shares.max() - shares.min() < 0.02


@pytest.mark.parametrize("fit", ["crop", "pad", "squash"])
def test_evaluation_shows_each_channel_as_a_grey_picture(fit: str) -> None:
    pixels = sources(4)[0]
    four = Preprocessing(32, 36, "bicubic", (0.1, 0.2, 0.3, 0.4), (0.5,) * 4).fitted(fit)  # type: ignore[arg-type]
    found = four.pixels(Bands.of(pixels))
    assert found.shape == (32, 32, 4)
    for channel in range(4):
        grey = replace(four, mean=(four.mean[channel],) * 3, std=(0.5,) * 3)
        alone = grey.pixels(Image.fromarray(np.ascontiguousarray(pixels[..., channel])).convert("RGB"))
        assert np.array_equal(found[..., channel], alone[..., 0])


def test_sources_keep_their_channels() -> None:
    pixels = sources(4)[0]
    assert np.array_equal(train_source(Bands.of(pixels), 64, RESAMPLING[0], 1.5), pixels)
    assert train_source(Bands.of(pixels), 20, RESAMPLING[0], 1.5).shape == (30, 38, 4)
