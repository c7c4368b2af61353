"""One image of a set before it is written to a folder, and what a missing package says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from transfer_cli.errors import UserError


@dataclass(frozen=True)
class Sample:
    """An image that is read only when it is wanted."""

    label: str
    group: str
    """Images of one group never come apart: all in train, all in val, or all in test."""
    read: Callable[[], Image.Image]
    split: str | None = None
    """Where the set says so itself: train, val or test."""


def debian_file(path: str, package: str, name: str) -> Path:
    """A file that a Debian package installs. Raises UserError with the package's name where it is missing."""
    found = Path(path)
    if not found.exists():
        raise UserError(f"evidence.sets: {name} needs {path}, which is not there: apt-get install {package}.")
    return found
