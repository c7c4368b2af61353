"""How fast such a training was here before: what is said of the time that one will take."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transfer_cli.engine.measured.memory import file_of, remember
from transfer_cli.files import read_signed_json


@dataclass(frozen=True)
class SpeedMemory:
    """Images a second of trainings that are over, evaluation and all: a file for each kind of work."""

    folder: Path

    def recall(self, work: dict[str, Any]) -> float | None:
        """Of the last training that did this work; None where there was none."""
        try:
            speed = read_signed_json(file_of(self.folder, work))["images_per_second"]
        except (OSError, ValueError, KeyError):
            return None
        return float(speed) if isinstance(speed, int | float) and speed > 0 else None

    def remember(self, work: dict[str, Any], images_per_second: float) -> None:
        """For the next."""
        remember(file_of(self.folder, work), {**work, "images_per_second": images_per_second})
