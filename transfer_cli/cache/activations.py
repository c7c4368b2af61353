"""The activations that a frozen prefix computes for images, on disk bit for bit: one row a sample."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from transfer_cli.cache.digests import Digests
from transfer_cli.files import parsed_json

ROWS = "rows.bin"
SHAPE = "shape.json"
SAMPLES = "samples.bin"
"""The digest of each row's sample."""
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


@dataclass
class RowsWriter:
    """What rows are on disk: their bytes, batch by batch, and what must be known to read them."""

    samples: Digests
    """What tells each row from others of the same kind: [N, W]."""
    kind: str | None
    """Digits that all rows have in common whose bytes depend on their sample alone; None: these depend on others."""
    form: dict[str, Any] = field(default_factory=dict, init=False)
    """Of each row; known with the first batch."""

    def bytes_of(self, batch: Tensor) -> bytes:
        """Rows [B, ...], all of one shape and dtype."""
        last = batch.ndim == 4 and batch.is_contiguous(memory_format=torch.channels_last)
        rows = (batch.permute(0, 2, 3, 1) if last else batch).contiguous().cpu()
        dtype = str(rows.dtype).removeprefix("torch.")
        self.form = {"shape": list(rows.shape[1:]), "dtype": dtype, "channels_last": last}
        return rows.view(_BITS[batch.dtype][0]).numpy().tobytes()

    def finish(self, folder: Path, form: dict[str, Any]) -> None:
        """Beside the rows of all batches, their form. Raises OSError."""
        (folder / SAMPLES).write_bytes(self.samples.tobytes())
        about = {"rows": len(self.samples), "kind": self.kind, **form}
        (folder / SHAPE).write_text(json.dumps(about), encoding="utf-8")


def kind_of(folder: Path) -> str | None:
    """That of an entry's rows; None where they are of no use for other samples, as in an earlier version."""
    try:
        found = parsed_json((folder / SHAPE).read_text(encoding="utf-8")).get("kind")
    except (OSError, ValueError, AttributeError):
        return None
    return found if isinstance(found, str) else None


def samples_of(folder: Path) -> Digests:
    """The digest of each row's sample, [N, W]. Raises OSError."""
    rows = parsed_json((folder / SHAPE).read_text(encoding="utf-8"))["rows"]
    return np.frombuffer((folder / SAMPLES).read_bytes(), np.uint8).reshape(rows, -1)


def read(folder: Path) -> Activations:
    """The rows that were written into `folder`."""
    about = parsed_json((folder / SHAPE).read_text(encoding="utf-8"))
    dtype = _DTYPES[about["dtype"]]
    shape = (about["rows"], *about["shape"])
    mapped = np.memmap(folder / ROWS, dtype=_BITS[dtype][1], mode="r", shape=shape)
    return Activations(mapped, dtype, about["channels_last"])
