"""Stores are opened for photos, and what comes of it is right."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from tests.data.loading import load
from transfer_cli.cache.entries import Cache
from transfer_cli.data.reading.image_set import ImageSet
from transfer_cli.data.store import formats
from transfer_cli.data.store.formats import PixelRequest
from transfer_cli.data.store.open import DecodedSet, StoreOptions, open_store
from transfer_cli.data.views import augment
from transfer_cli.models.preprocessing import Preprocessing
from transfer_cli.records.terminal import Reporter

LARGE = 10**12
STORES = ["disk", "ram", "stream"]


def photos(folder: Path, seed: int = 0) -> ImageSet:
    return load("folder", str(folder), seed=seed)


@dataclass
class Opening:
    """Opens a store as a training does, in a cache of the test's own."""

    preprocessing: Preprocessing
    root: Path
    cache: Cache = field(init=False)
    """The last one used."""

    def __call__(
        self,
        images: ImageSet,
        where: str = "disk",
        on_bad: str = "error",
        max_bytes: int = LARGE,
        check_stop: Callable[[], None] = lambda: None,
    ) -> DecodedSet:
        wants = [
            PixelRequest(formats.training(self.preprocessing, 1.5), images.splits["train"]),
            PixelRequest(
                formats.evaluation(self.preprocessing), np.union1d(images.splits["val"], images.splits["test"])
            ),
        ]
        self.cache = Cache(self.root, max_bytes)
        return open_store(images, wants, StoreOptions(where, on_bad), self.cache, Reporter(quiet=True), check_stop)


def assert_right(opened: DecodedSet, images: ImageSet, preprocessing: Preprocessing) -> None:
    """Every pixel is what decoding its file now gives."""
    held_out = np.union1d(opened.images.splits["val"], opened.images.splits["test"])
    for index, pixels in zip(held_out, opened.store.evaluation(held_out), strict=True):
        assert np.array_equal(pixels.transpose(2, 0, 1), preprocessing.apply(images.read(int(index))).numpy())
    train = opened.images.splits["train"]
    for index, pixels in zip(train, opened.store.sources(train), strict=True):
        expected = augment.train_source(images.read(int(index)), 16, Image.Resampling.BILINEAR, 1.5)
        assert np.array_equal(pixels, expected)
