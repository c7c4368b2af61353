"""Data sets that need no files: scikit-learn's handwritten digits, and generated images for tests and dry runs."""

from __future__ import annotations

import colorsys
import gzip
import importlib.util
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from transfer_cli.data.sources.listing import Listing
from transfer_cli.errors import UserError

FAKE_PIXELS = 64
_FAKE_NOISE = 40.0


def digits() -> Listing:
    """1797 handwritten digits of 8 x 8 pixels, 10 classes (UCI Optical Recognition, Alpaydin and Kaynak 1998)."""
    table = _digits_table()
    # 17 grey levels, 0..16; an image stays 8 x 8: enlarging is the business of a view.
    greys = np.rint(table[:, :64].reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)
    return Listing(
        classes=tuple(str(digit) for digit in range(10)),
        keys=[str(index) for index in range(len(greys))],
        labels=table[:, 64].astype(np.int64),
        splits={"train": np.arange(len(greys))},
        read=partial(_read_grey, greys),
        prefix="digits/",
    )


def fake(num_classes: int, samples: int) -> Listing:
    """Generated images whose class shows in hue and stripe angle, under noise: learnable, and the same every time."""
    if num_classes < 2:
        raise UserError(f"dataset.num_classes={num_classes}: must be at least 2.")
    if samples < 3 * num_classes:
        raise UserError(f"dataset.samples={samples}: must be at least 3 a class, {3 * num_classes} here.")
    return Listing(
        classes=tuple(f"class_{label:0{len(str(num_classes - 1))}d}" for label in range(num_classes)),
        keys=[str(index) for index in range(samples)],
        labels=np.arange(samples, dtype=np.int64) % num_classes,
        splits={"train": np.arange(samples)},
        read=partial(_read_fake, num_classes),
        prefix="fake/",
        contents=_Generated(num_classes),
    )


@dataclass(frozen=True)
class _Generated:
    """What determines a generated image, in place of its bytes."""

    num_classes: int

    def content(self, index: int) -> bytes:
        """The arguments of its recipe; another recipe needs another name."""
        return f"stripes of {FAKE_PIXELS} pixels, {self.num_classes} classes, number {index}".encode()

    def place(self, index: int) -> tuple[str, str]:
        """It lies in no file."""
        return "", str(index)


def _digits_table() -> NDArray[np.uint8]:
    """The table that scikit-learn ships, [1797, 65]: 64 grey values and the digit."""
    spec = importlib.util.find_spec("sklearn")
    assert spec is not None
    assert spec.origin is not None
    # Read where it lies: scikit-learn's own loader gives the same numbers, but its import takes a second.
    file = Path(spec.origin).parent / "datasets" / "data" / "digits.csv.gz"
    with gzip.open(file, "rt") as lines:
        return np.loadtxt(lines, delimiter=",", dtype=np.uint8)


def _read_grey(greys: NDArray[np.uint8], index: int) -> Image.Image:
    """One of `greys` [N, H, W] as RGB."""
    return Image.fromarray(greys[index]).convert("RGB")


def _read_fake(num_classes: int, index: int) -> Image.Image:
    """Stripes in the class's hue and angle, at a random phase and brightness, with noise."""
    random = np.random.default_rng([num_classes, index])
    share = (index % num_classes) / num_classes
    hue = 255 * np.array(colorsys.hsv_to_rgb(share, 0.6, 0.9))
    rows, columns = np.mgrid[:FAKE_PIXELS, :FAKE_PIXELS]
    along = columns * np.cos(np.pi * share) + rows * np.sin(np.pi * share)
    stripes = 0.75 + 0.25 * np.sin(along * 0.6 + random.uniform(0, 2 * np.pi))
    clean = hue * (stripes * random.uniform(0.6, 1.0))[..., None]
    noisy = clean + random.normal(0, _FAKE_NOISE, clean.shape)
    return Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8))
