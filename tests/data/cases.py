"""An image file, and what must come of it: the colours near its corners, or an error."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tests.data.pictures import CORNERS, HEIGHT, WIDTH, Colour


@dataclass(frozen=True)
class Shows:
    """The colours near the corners: top left, top right, bottom left, bottom right."""

    corners: Sequence[Colour] | None = CORNERS
    size: tuple[int, int] = (WIDTH, HEIGHT)
    tolerance: int = 0


@dataclass(frozen=True)
class Refused:
    """Words of the error."""

    words: str


@dataclass(frozen=True)
class Case:
    """A file's name and content, and what must come of it."""

    content: Callable[[], bytes]
    expected: Shows | Refused
    name: str = "image.jpg"
