"""Generated images, for tests and dry runs."""

from __future__ import annotations

import colorsys
from dataclasses import dataclass
from functools import partial

import numpy as np
from PIL import Image

from transfer_cli.config.schema import Dataset
from transfer_cli.data.reading.listing import Listing
from transfer_cli.errors import UserError

PATH = None
"""No files."""

SIDE_PIXELS = 64
_NOISE = 40.0


def load(dataset: Dataset) -> Listing:
    """`dataset.samples` images whose class shows in hue and stripe angle, under noise: the same every time.

    Raises UserError where `dataset.num_classes` or `dataset.samples` is missing or too small.
    """
    classes, samples = dataset.num_classes, dataset.samples
    if classes is None or classes < 2:
        raise UserError(f"dataset.num_classes={classes}: must be at least 2.")
    if samples is None or samples < 3 * classes:
        raise UserError(f"dataset.samples={samples}: must be at least 3 a class, {3 * classes} here.")
    return Listing(
        classes=tuple(f"class_{label:0{len(str(classes - 1))}d}" for label in range(classes)),
        keys=[str(index) for index in range(samples)],
        labels=np.arange(samples, dtype=np.int64) % classes,
        splits={"train": np.arange(samples)},
        read=partial(_read, classes),
        prefix="fake/",
        encoded=_Generated(classes),
        published=True,
    )


@dataclass(frozen=True)
class _Generated:
    """What determines a generated image, in place of its bytes."""

    classes: int

    def encoded(self, index: int) -> bytes:
        """The arguments of its recipe; another recipe needs another name."""
        return f"stripes of {SIDE_PIXELS} pixels, {self.classes} classes, number {index}".encode()

    def location(self, index: int) -> tuple[str, str]:
        """It lies in no file."""
        return "", str(index)


def _read(classes: int, index: int) -> Image.Image:
    """Stripes in the class's hue and angle, at a random phase and brightness, with noise."""
    random = np.random.default_rng([classes, index])
    share = (index % classes) / classes
    hue = 255 * np.array(colorsys.hsv_to_rgb(share, 0.6, 0.9))
    rows, columns = np.mgrid[:SIDE_PIXELS, :SIDE_PIXELS]
    along = columns * np.cos(np.pi * share) + rows * np.sin(np.pi * share)
    stripes = 0.75 + 0.25 * np.sin(along * 0.6 + random.uniform(0, 2 * np.pi))
    clean = hue * (stripes * random.uniform(0.6, 1.0))[..., None]
    noisy = clean + random.normal(0, _NOISE, clean.shape)
    return Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8))
