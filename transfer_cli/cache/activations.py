"""What a frozen prefix makes of images, kept as it came out: one row a sample, bit for bit."""

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
# Numpy lacks bfloat16: its bits travel as integers of the same size.
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

    def __len__(self) -> int:
        return len(self.mapped)

    def rows(self, positions: NDArray[np.int64]) -> Tensor:
        """The rows at `positions`, a copy: [len(positions), ...]."""
        return torch.from_numpy(self.mapped[positions]).view(self.dtype)

    def all(self) -> Tensor:
        """All rows, a copy in memory: [N, ...]."""
        return torch.from_numpy(np.array(self.mapped)).view(self.dtype)


def write(folder: Path, batches: Iterable[Tensor]) -> None:
    """Write the rows of `batches`, each [B, ...] of one shape and dtype, in order. Raises OSError."""
    rows, shape, dtype = 0, None, None
    with (folder / ROWS).open("wb") as file:
        for batch in batches:
            rows, shape, dtype = rows + len(batch), list(batch.shape[1:]), batch.dtype
            file.write(batch.contiguous().cpu().view(_BITS[batch.dtype][0]).numpy().tobytes())
    about = {"rows": rows, "shape": shape, "dtype": str(dtype).removeprefix("torch.")}
    (folder / SHAPE).write_text(json.dumps(about), encoding="utf-8")


def read(folder: Path) -> Activations:
    """The rows that `write` left in `folder`."""
    about = json.loads((folder / SHAPE).read_text(encoding="utf-8"))
    dtype = _DTYPES[about["dtype"]]
    shape = (about["rows"], *about["shape"])
    return Activations(np.memmap(folder / ROWS, dtype=_BITS[dtype][1], mode="r", shape=shape), dtype)
