"""The activations that a frozen prefix computes for images, on disk bit for bit: one row a sample."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

ROWS = "rows.bin"
SHAPE = "shape.json"
# Numpy lacks bfloat16: its bits are stored as integers of the same size.
_BITS: dict[torch.dtype, tuple[torch.dtype, Any]] = {
    torch.float32: (torch.float32, np.float32),
    torch.float16: (torch.float16, np.float16),
    torch.bfloat16: (torch.int16, np.int16),
}
_DTYPES = {str(dtype).removeprefix("torch."): dtype for dtype in _BITS}


@dataclass(frozen=True)
class Activations:
    """Rows [N, ...] on disk, mapped into memory."""

    mapped: NDArray[Any]
    dtype: torch.dtype
    channels_last: bool
    """Whether maps [C, H, W] are stored as [H, W, C]: as convolutions take them, without a copy."""

    def __len__(self) -> int:
        return len(self.mapped)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one row."""
        height, width, channels = self.mapped.shape[1:] if self.channels_last else (0, 0, 0)
        return (channels, height, width) if self.channels_last else self.mapped.shape[1:]

    def rows(self, positions: NDArray[np.int64]) -> Tensor:
        """The rows at `positions`, a copy: [len(positions), ...]."""
        rows = torch.from_numpy(self.mapped[positions]).view(self.dtype)
        return rows.permute(0, 3, 1, 2) if self.channels_last else rows


def write(folder: Path, batches: Iterable[Tensor]) -> None:
    """Write the rows of `batches`, each [B, ...] of one shape and dtype, in order. Raises OSError."""
    count, about = 0, {}
    with (folder / ROWS).open("wb") as file:
        for batch in batches:
            last = batch.ndim == 4 and batch.is_contiguous(memory_format=torch.channels_last)
            rows = (batch.permute(0, 2, 3, 1) if last else batch).contiguous().cpu()
            file.write(rows.view(_BITS[batch.dtype][0]).numpy().tobytes())
            count += len(batch)
            about = {
                "shape": list(rows.shape[1:]),
                "dtype": str(rows.dtype).removeprefix("torch."),
                "channels_last": last,
            }
    (folder / SHAPE).write_text(json.dumps({"rows": count, **about}), encoding="utf-8")


def read(folder: Path) -> Activations:
    """The rows that `write` left in `folder`."""
    about = json.loads((folder / SHAPE).read_text(encoding="utf-8"))
    dtype = _DTYPES[about["dtype"]]
    shape = (about["rows"], *about["shape"])
    mapped = np.memmap(folder / ROWS, dtype=_BITS[dtype][1], mode="r", shape=shape)
    return Activations(mapped, dtype, about["channels_last"])
