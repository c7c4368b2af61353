"""Idx files, the kind that MNIST comes in: four files, packed (.gz) or not, wherever in a folder people put them."""

from __future__ import annotations

import gzip
import os
import re
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from transfer_cli.errors import UserError

_GZIP = b"\x1f\x8b"
_MOST_BYTES = 2**32
_NAME = re.compile(r"(train|t10k|test)-(images|labels)[-.]idx[13]-ubyte(\.gz)?", re.IGNORECASE)
_SPLITS = {"train": "train", "t10k": "test", "test": "test"}

Files = Mapping[tuple[str, str], Path]
"""("train" or "test", "images" or "labels") to a file."""


def find(folders: Sequence[Path]) -> Files | None:
    """The four files, in the first of the folders that has them all; a file that is not packed comes first."""
    for folder in folders:
        names = sorted(os.listdir(folder), key=lambda name: name.lower().endswith(".gz")) if folder.is_dir() else []
        files: dict[tuple[str, str], Path] = {}
        for name in names:
            match = _NAME.fullmatch(name)
            if match and (folder / name).is_file():
                files.setdefault((_SPLITS[match[1].lower()], match[2].lower()), folder / name)
        if len(files) == 4:
            return files
    return None


def read_split(files: Files, split: str, classes: int) -> tuple[NDArray[np.uint8], list[int]]:
    """Pixels [N, H, W] and labels. Raises UserError naming the file that is damaged, or does not fit the other."""
    images, labels = _read(files[split, "images"], 3), _read(files[split, "labels"], 1)
    if len(images) != len(labels):
        raise UserError(f"{files[split, 'labels']}: {len(labels):,} labels for {len(images):,} images.")
    if labels.max() >= classes:
        raise UserError(f"{files[split, 'labels']}: label {labels.max()}; from 0 to {classes - 1} is expected.")
    return images, labels.tolist()


def _read(file: Path, axes: int) -> NDArray[np.uint8]:
    """The bytes of an idx file as an array of so many axes."""
    try:
        with file.open("rb") as plain:
            packed = plain.read(2) == _GZIP
        with gzip.open(file) if packed else file.open("rb") as stream:
            head = stream.read(4 + 4 * axes)
            if head[:4] != bytes([0, 0, 8, axes]) or len(head) < 4 + 4 * axes:
                raise UserError(f"{file}: not an idx file of bytes with {axes} axes.")
            shape = [int(side) for side in np.frombuffer(head, ">u4")[1:]]
            size = int(np.prod(shape, dtype=object))
            if not 0 < size <= _MOST_BYTES:
                raise UserError(f"{file}: its header says {' x '.join(map(str, shape))} bytes.")
            data = stream.read(size + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{file}: cannot be read ({getattr(error, 'strerror', None) or error}).") from None
    if len(data) != size:
        raise UserError(f"{file}: {'more' if len(data) > size else 'fewer'} bytes than the {size:,} of its header.")
    return np.frombuffer(data, np.uint8).reshape(shape)
