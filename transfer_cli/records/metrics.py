"""`metrics.jsonl`: a line an event, append only, so that a kill at any moment leaves a valid log."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from transfer_cli.files import plain
from transfer_cli.records.events import EpochEnd, Recorder, RunEnd

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


class MetricsRecorder(Recorder):
    """Writes a line for every split of every epoch, and one for the test split."""

    def __init__(self, path: Path, offset: int = 0) -> None:
        """`offset`: the bytes of `path` that a resumed run keeps."""
        self._log = MetricsLog.resume(path, offset)

    def epoch_ends(self, end: EpochEnd) -> None:
        """The lines are on the disk when this returns. Raises OSError."""
        rest: Event = {}
        if end.learning_rate is not None:
            rest["learning_rate"] = end.learning_rate
        if end.loss_parts:
            rest["loss_parts"] = dict(end.loss_parts)
        for split, scores in end.splits.items():
            more = rest if split == "train" else {}
            self._log.write(step=end.step, epoch=end.epoch, split=split, **scores, **more, **end.candidate)
        self._log.flush()

    def run_ends(self, end: RunEnd) -> None:
        """The scores on the test split, of the best epoch's weights."""
        if end.completed and end.summary.get("test"):
            self._log.write(step=end.step, epoch=end.summary["best_epoch"], split="test", **end.summary["test"])
            self._log.flush()

    def state(self) -> dict[str, Any]:
        """How long the log is: what a resumed run does again is cut off."""
        return {"offset": self._log.offset()}
