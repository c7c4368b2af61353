"""What a file must hold to be a picture of so many channels, and what is said of one that is none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from transfer_cli.data.reading.decode import DecodeError
from transfer_cli.errors import counted
from transfer_cli.models.pixels import MAX_PIXELS

KEY = "dataset.channels"
AMBIGUOUS = "first and last axis are both as long as there are channels: the last one is taken for these"
_USUAL_CHANNELS = 4
"""What the cap of pixels reckons with; of more channels there may be fewer pixels."""


@dataclass(frozen=True)
class Asked:
    """What is wanted of a file."""

    shown: str
    """Its name, for people."""
    channels: int
    max_pixels: int | None
    remark: Callable[[str], None]

    def fail(self, reason: str) -> DecodeError:
        """The error that names the file."""
        return DecodeError(self.shown, reason)

    def miscounted(self, found: str) -> DecodeError:
        """The error for a file of other channels; `found` is what it has."""
        return self.fail(f"has {found}, not {counted(self.channels, 'channel')} ({KEY}={self.channels})")

    def check_count(self, count: int) -> None:
        """Raises DecodeError for another number of channels."""
        if count != self.channels:
            raise self.miscounted(counted(count, "channel"))

    def check_size(self, width: int, height: int, channels: int) -> None:
        """Raises DecodeError for no pixels, or more than may be held in memory."""
        most = MAX_PIXELS if self.max_pixels is None else self.max_pixels
        if width * height == 0:
            raise self.fail("has no pixels")
        if width * height * max(channels, _USUAL_CHANNELS) > most * _USUAL_CHANNELS:
            size = f"{width} x {height} pixels of {counted(channels, 'channel')}"
            raise self.fail(f"{size}, above the cap of {most} of {_USUAL_CHANNELS} (dataset.max_pixels)")

    def channels_last(self, values: NDArray[Any]) -> NDArray[Any]:
        """Values [H, W], [H, W, C] or [C, H, W] as [H, W, C]: the axis that is as long as there are channels is theirs.

        Raises DecodeError where none is.
        """
        shape = values.shape
        if values.ndim == 2:
            self.check_count(1)
            return values[..., None]
        if values.ndim != 3:
            raise self.miscounted(f"the shape {_shape(shape)}")
        if shape[2] == self.channels:
            if shape[0] == self.channels and self.channels > 1:
                self.remark(AMBIGUOUS)
            return values
        if shape[0] != self.channels:
            raise self.miscounted(f"the shape {_shape(shape)}")
        return np.moveaxis(values, 0, 2)


def _shape(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape)) or "of a single number"
