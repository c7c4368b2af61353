"""scikit-learn's handwritten digits: a data set that is always there."""

from __future__ import annotations

import gzip
import importlib.util
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from transfer_cli.config.schema import Dataset
from transfer_cli.data.reading.listing import Listing, read_pixels

PATH = None
"""No files."""


def load(dataset: Dataset) -> Listing:
    """1797 handwritten digits of 8 x 8 pixels, 10 classes ("Optical Recognition of Handwritten Digits", UCI 1998)."""
    table = _table()
    # 17 grey levels, 0..16; an image stays 8 x 8: enlarging is the business of a view.
    greys = np.rint(table[:, :64].reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)
    return Listing(
        classes=tuple(str(digit) for digit in range(10)),
        keys=[str(index) for index in range(len(greys))],
        labels=table[:, 64].astype(np.int64),
        splits={"train": np.arange(len(greys))},
        read=partial(read_pixels, greys),
        prefix="digits/",
        published=True,
    )


def _table() -> NDArray[np.uint8]:
    """The table that scikit-learn ships, [1797, 65]: 64 grey values and the digit."""
    spec = importlib.util.find_spec("sklearn")
    assert spec is not None
    assert spec.origin is not None
    # Read where it lies: scikit-learn's own loader gives the same numbers, but its import takes a second.
    file = Path(spec.origin).parent / "datasets" / "data" / "digits.csv.gz"
    with gzip.open(file, "rt") as lines:
        return np.loadtxt(lines, delimiter=",", dtype=np.uint8)
