"""Pack: one immutable cache entry of decoded pixels, row after row in a file, and an index of whose rows they are.

Rows are read into buffers of the reader's own. A memory map would be shorter, but its pages count as this process's
memory, which would then grow with the data set.
"""

from __future__ import annotations

import json
import os
import weakref
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from transfer_cli.cache.digests import Digests
from transfer_cli.data.store.stamps import SHA256_BYTES
from transfer_cli.errors import RunError
from transfer_cli.files import parsed_json, tensors_written

if TYPE_CHECKING:
    # mode=cache needs no torch, which comes with it.
    from transfer_cli.data.views.geometry import Pixels

PIXELS = "pixels.bin"
INDEX = "index.safetensors"
ABOUT = "about.json"


@dataclass(frozen=True)
class Decoded:
    """One image after decoding: its pixels, or why it has none."""

    sha256: bytes
    """Of the file."""
    pixels: Pixels | None = None
    """uint8 [H, W, C]."""
    reason: str | None = None
    remark: str = ""
    """What the user should know of how it is shown."""


class Pack:
    """An entry, open for reading: it stays readable if the cache drops it meanwhile.

    The index holds a CRC-32 of each row's pixels, so that a large pack need not be read whole to be trusted.
    """

    def __init__(self, folder: Path, channels: int) -> None:
        """Its rows have so many channels. Raises OSError if it has gone, ValueError if it is damaged."""
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        self.folder, self._channels = folder, channels
        self._file = os.open(folder / PIXELS, os.O_RDONLY)
        weakref.finalize(self, os.close, self._file)
        try:
            index = load_file(folder / INDEX)
        except SafetensorError as error:
            raise ValueError(str(error)) from error
        self.stamps: Digests = index["stamps"]
        self.hashes: Digests = index["contents"]
        """Sha256 of the file of each row, [N, 32]."""
        self.offsets: NDArray[np.int64] = index["offsets"]
        self.shapes: NDArray[np.int32] = index["shapes"]
        """Height and width of each row, [N, 2]."""
        self._sums: NDArray[np.uint32] = index["sums"]
        self._known = np.zeros(len(self.shapes), bool)
        if os.fstat(self._file).st_size != self.bytes_of(np.arange(len(self.shapes))):
            raise ValueError("the pixels are cut short")
        about = parsed_json((folder / ABOUT).read_text(encoding="utf-8"))
        self.bad: dict[int, str] = {int(row): reason for row, reason in about["bad"].items()}
        self.remarks: dict[int, str] = {int(row): remark for row, remark in about.get("remarks", {}).items()}

    def bytes_of(self, rows: NDArray[np.int64]) -> int:
        """What the pixels of some rows take."""
        return self._channels * int(self.shapes[rows].astype(np.int64).prod(axis=1).sum())

    def is_sound(self, row: int, pixels: Pixels) -> bool:
        """Whether pixels that were read are those that were written; compared the first time alone."""
        if not self._known[row]:
            self._known[row] = zlib.crc32(np.ascontiguousarray(pixels).data) == self._sums[row]
        return bool(self._known[row])

    def read(self, row: int, out: Pixels) -> None:
        """Fill `out`, contiguous, with the rows from `row` on. Raises OSError, or RunError for a file cut short."""
        view, at = memoryview(out.data).cast("B"), int(self.offsets[row])
        while len(view):
            count = os.preadv(self._file, [view], at)
            if count == 0:
                raise RunError(
                    f"{self.folder / PIXELS}: shorter than it was. "
                    "Run `transfer-run mode=cache cache.action=verify`, then the same command with resume=auto."
                )
            view, at = view[count:], at + count


def write_pack(folder: Path, stamps: Digests, rows: Iterable[Decoded], about: dict[str, Any]) -> None:
    """Write a pack's files into an empty folder, one image at a time. Raises OSError and what `rows` raises."""
    from safetensors.numpy import save_file

    hashes = np.zeros((len(stamps), SHA256_BYTES), np.uint8)
    offsets = np.zeros(len(stamps), np.int64)
    shapes = np.zeros((len(stamps), 2), np.int32)
    sums = np.zeros(len(stamps), np.uint32)
    bad: dict[int, str] = {}
    remarks: dict[int, str] = {}
    with (folder / PIXELS).open("wb") as file:
        for row, decoded in enumerate(rows):
            hashes[row] = np.frombuffer(decoded.sha256, np.uint8)
            offsets[row] = file.tell()
            if decoded.pixels is not None:
                shapes[row] = decoded.pixels.shape[:2]
                content = np.ascontiguousarray(decoded.pixels).data
                sums[row] = zlib.crc32(content)
                file.write(content)
            elif decoded.reason is not None:
                bad[row] = decoded.reason
            if decoded.remark:
                remarks[row] = decoded.remark
    found: dict[str, NDArray[Any]] = {
        "stamps": stamps,
        "contents": hashes,
        "offsets": offsets,
        "shapes": shapes,
        "sums": sums,
    }
    with tensors_written(folder / INDEX):
        save_file(found, folder / INDEX)
    about = {**about, "bad": bad} | ({"remarks": remarks} if remarks else {})
    (folder / ABOUT).write_text(json.dumps(about, ensure_ascii=True, indent=1) + "\n", encoding="utf-8")
