"""The encoded images of a Hugging Face data set, by index over all its splits."""

from __future__ import annotations

import hashlib
import importlib
import os
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from transfer_cli.data.reading.decode import DecodeError, open_image


class HfImages:
    """The splits one after the other, each a data set of one column of encoded images."""

    def __init__(self, splits: Sequence[Any], column: str, ids: Sequence[str]) -> None:
        self._splits, self._column, self._ids = splits, column, ids
        self._ends = np.cumsum([len(split) for split in splits])

    def read(self, index: int) -> Image.Image:
        """Decode an image."""
        return open_image(self.encoded(index), name=self._ids[index])

    def encoded(self, index: int) -> bytes:
        """The encoded image; raises DecodeError where a file that it is in cannot be read."""
        data, path = self._cell(index)
        if data is not None or path is None:
            return data or b""
        try:
            return Path(path).read_bytes()
        except OSError as error:
            raise DecodeError(self._ids[index], f"{path}: {str(error.strerror).lower()}") from None

    def location(self, index: int) -> tuple[str, str]:
        """The file that holds the image, and where in it."""
        path = None if self._embedded[index] else self._cell(index)[1]
        if path is not None:
            return path, ""
        split, row = self._at(index)
        file, version = self._versions[split]
        return file, f"{version} {row}"

    @cached_property
    def _embedded(self) -> NDArray[np.bool_]:
        """Whether each image is in the set itself, rather than in a file of its own."""
        compute: Any = importlib.import_module("pyarrow.compute")  # its functions are made at import
        valid = [
            compute.is_valid(compute.struct_field(batch.column(self._column), "bytes"))
            for split in self._splits
            for batch in split.with_format("arrow").iter(batch_size=1000)
        ]
        return np.concatenate([np.asarray(batch, dtype=bool) for batch in valid])

    @cached_property
    def _versions(self) -> list[tuple[str, str]]:
        """Of each split its first file, and a digest that changes with any of its files."""
        versions = []
        for split in self._splits:
            files = [str(entry["filename"]) for entry in split.cache_files]
            facts = [
                (file, s.st_size, s.st_mtime_ns, s.st_ctime_ns, s.st_ino) for file in files for s in [os.stat(file)]
            ]
            versions.append((files[0], hashlib.sha256(repr(facts).encode()).hexdigest()))
        return versions

    def _at(self, index: int) -> tuple[int, int]:
        """Split and row of a sample."""
        split = int(np.searchsorted(self._ends, index, side="right"))
        return split, index - int(self._ends[split - 1] if split else 0)

    def _cell(self, index: int) -> tuple[bytes | None, str | None]:
        """The encoded image, or the file that it is in."""
        split, row = self._at(index)
        cell = self._splits[split][row][self._column] or {}
        return cell.get("bytes"), cell.get("path")
