"""`metrics.jsonl`: a line an event, append only, so that a kill at any moment leaves a valid log."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from transfer_cli.files import plain

Event = dict[str, Any]


class MetricsLog:
    """Appends events to a file. Nothing stays in this process: each event is with the system once `write` returns."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def resume(cls, path: Path, offset: int) -> MetricsLog:
        """Go on at byte `offset`: events behind it belong to work that is done again, and go. Creates a missing file.

        A log that someone has cut shorter goes on after its last whole line.
        """
        with path.open("ab") as file:
            file.truncate(min(offset, path.stat().st_size))
        with path.open("rb+") as file:
            file.truncate(file.read().rfind(b"\n") + 1)
        return cls(path)

    def write(self, **event: Any) -> None:
        """Append one event; nan and infinities become null. Raises OSError."""
        line = json.dumps(plain(event), allow_nan=False) + "\n"
        with self.path.open("ab") as file:
            file.write(line.encode("ascii"))

    def flush(self) -> None:
        """Return when all events are on the disk. Raises OSError."""
        with self.path.open("ab") as file:
            os.fsync(file.fileno())

    def offset(self) -> int:
        """Bytes written so far: what `resume` wants."""
        return self.path.stat().st_size if self.path.exists() else 0


def read(path: Path) -> list[Event]:
    """All events, in order; an unfinished last line is left out. Raises ValueError for a damaged line before it."""
    lines = path.read_bytes().split(b"\n")
    return [json.loads(line) for line in lines[:-1]]
