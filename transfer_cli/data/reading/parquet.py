"""Parquet through pyarrow: small columns as text at once, images by row group when asked for."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from transfer_cli.data.reading.decode import DecodeError, open_image
from transfer_cli.errors import UserError, first_line
from transfer_cli.extras import need

KEEP_BYTES = 256 * 2**20
"""Row groups are kept in memory up to this size, at least one."""


class ParquetTable:
    """One file's columns. Raises UserError naming the file: damaged, without rows, or pyarrow is missing."""

    def __init__(self, file: Path) -> None:
        library = need("pyarrow.parquet", "parquet", f"{file}: reading Parquet")
        self.file, self.notes = file, list[str]()
        with _named(file):
            self._open = library.ParquetFile(file)
            self._schema = self._open.schema_arrow
        self.names: list[str] = self._schema.names
        if self._open.metadata.num_rows == 0:
            raise UserError(f"{file}: has no rows.")

    def cells(self, name: str) -> list[str]:
        """A column as text, "" where there is nothing. Raises UserError for bytes and nested values."""
        import pyarrow.types as types

        kind = self._schema.field(name).type
        if types.is_nested(kind) or types.is_binary(kind) or types.is_large_binary(kind):
            raise UserError(f"{self.file}: column {name} holds {kind}; text or numbers are expected.")
        with _named(self.file):
            values = self._open.read(columns=[name], use_threads=False).column(0).to_pylist()
        return ["" if value is None or value != value else str(value) for value in values]

    def row_name(self, index: int) -> str:
        """What to call a row: its number, from 0."""
        return f"row {index}"

    def images(self, name: str) -> ParquetImages | None:
        """A column of encoded images, plain or as Hugging Face stores them; None where it holds something else."""
        import pyarrow.types as types

        kind, path = self._schema.field(name).type, name
        if types.is_struct(kind) and kind.get_field_index("bytes") >= 0:
            path, kind = f"{name}.bytes", kind.field("bytes").type
        if not (types.is_binary(kind) or types.is_large_binary(kind)):
            return None
        metadata = self._open.metadata
        groups = [metadata.row_group(number).num_rows for number in range(metadata.num_row_groups)]
        return ParquetImages(str(self.file), path, np.cumsum([0, *groups]))


@dataclass
class _Kept:
    """Row groups in memory, of one process: after a fork, locks and open files are another's."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    groups: OrderedDict[int, Any] = field(default_factory=OrderedDict)


class ParquetImages:
    """Images inside a Parquet file, by row number. Neighbours share one read; a far jump costs a row group."""

    def __init__(self, file: str, column: str, starts: NDArray[np.int64]) -> None:
        self._file, self._column, self._starts = file, column, starts
        self._kept: dict[int, _Kept] = {}

    def __len__(self) -> int:
        return int(self._starts[-1])

    def read(self, index: int) -> Image.Image:
        """Decode the image of a row (from 0)."""
        return open_image(self.encoded(index), name=f"{self._file}/{index}")

    def encoded(self, index: int) -> bytes:
        """The encoded image of a row. Raises DecodeError where the cell holds none."""
        number = int(np.searchsorted(self._starts, index, side="right")) - 1
        value = self._group(number)[index - int(self._starts[number])].as_py()
        value = value["bytes"] if isinstance(value, dict) else value
        if value is None:
            raise DecodeError(f"{self._file}/{index}", "the cell holds no image")
        return bytes(value)

    def location(self, index: int) -> tuple[str, str]:
        """The file, and the row in it."""
        return self._file, str(index)

    def _group(self, number: int) -> Any:
        """The image column of a row group."""
        kept = self._kept.setdefault(os.getpid(), _Kept())
        with kept.lock:
            if number in kept.groups:
                kept.groups.move_to_end(number)
                return kept.groups[number]
            library = need("pyarrow.parquet", "parquet", self._file)
            with _named(self._file), library.ParquetFile(self._file) as parquet:
                group = parquet.read_row_group(number, columns=[self._column], use_threads=False).column(0)
            kept.groups[number] = group
            while len(kept.groups) > 1 and sum(group.nbytes for group in kept.groups.values()) > KEEP_BYTES:
                kept.groups.popitem(last=False)
            return group

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_kept": {}}


@contextmanager
def _named(file: Path | str) -> Iterator[None]:
    """Arrow's errors as a UserError that names the file."""
    from pyarrow.lib import ArrowException

    try:
        yield
    except (ArrowException, OSError) as error:
        raise UserError(f"{file}: not a Parquet file, or damaged ({first_line(error)}).") from error
