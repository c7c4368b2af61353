"""How many images fit into memory at a time, remembered for the processes that go on with a run.

A process alone takes fewer and does the step again. One of several ranks cannot, since the others are in the middle of
the same step: all end, and go on with fewer.
"""

from __future__ import annotations

import math
from contextlib import suppress
from pathlib import Path

from transfer_cli.errors import RunError
from transfer_cli.files import parsed_json, write_json

FILE = "micro_batch.json"
_NO_ROOM = (
    "out of memory with {images} images at a time, one rank's share of a step ({reason}). States saved so far are "
    "kept: the same command with resume=auto goes on with {smaller} at a time."
)


class NoRoomError(RunError):
    """A rank had no memory for its share of a step; `smaller`: how many images at a time may fit."""

    def __init__(self, images: int, reason: str, smaller: int) -> None:
        super().__init__(_NO_ROOM.format(images=images, reason=reason, smaller=smaller))
        self.smaller = smaller


def half(images: int, reason: str) -> int:
    """How many to take where so many did not fit. Raises RunError where it was one."""
    if images <= 1:
        raise RunError(
            f"out of memory with one image at a time ({reason}). Free the device, or take a smaller model or "
            "image_size."
        )
    return math.ceil(images / 2)


def remember(folder: Path, images: int) -> None:
    """Leave the number in the folder of the run's states, for whoever goes on; the smallest of all ranks stays."""
    with suppress(OSError):
        folder.mkdir(exist_ok=True)
        write_json(folder / FILE, {"images": min(images, recall(folder) or images)})


def recall(folder: Path) -> int | None:
    """What an earlier process left; None where all had room."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        images = parsed_json((folder / FILE).read_text(encoding="utf-8"))["images"]
        return images if isinstance(images, int) and images > 0 else None
    return None
