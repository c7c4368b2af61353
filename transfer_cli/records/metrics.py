"""`metrics.jsonl`: a line an event, append only, so that a kill at any moment leaves a valid log."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Self

from transfer_cli.files import AppendedLines, plain
from transfer_cli.records.events import EpochEnd, Recorder, RecorderSetup, RunEnd

Event = dict[str, Any]


NAME = "metrics.jsonl"


def read(path: Path) -> list[Event]:
    """All events, in order; an unfinished last line is left out. Raises ValueError for a damaged line before it."""
    lines = path.read_bytes().split(b"\n")
    return [json.loads(line) for line in lines[:-1]]


class MetricsRecorder(Recorder):
    """Writes a line for every split of every epoch, and one for the test split."""

    def __init__(self, path: Path, offset: int = 0) -> None:
        """`offset`: the bytes of `path` that a resumed run keeps."""
        self._lines = AppendedLines(path, offset)

    @classmethod
    def of_run(cls, setup: RecorderSetup) -> Self:
        """Going on where the resumed state was saved."""
        return cls(setup.directory / NAME, **setup.saved)

    def epoch_ends(self, end: EpochEnd) -> None:
        """The lines are on the disk when this returns. Raises OSError."""
        rest: Event = {}
        if end.learning_rate is not None:
            rest["learning_rate"] = end.learning_rate
        if end.loss_parts:
            rest["loss_parts"] = dict(end.loss_parts)
        for split, scores in end.splits.items():
            more = rest if split == "train" else {}
            self._write(step=end.step, epoch=end.epoch, split=split, **scores, **more, **end.candidate)
        self._lines.flush()

    def run_ends(self, end: RunEnd) -> None:
        """The scores on the test split, of the best epoch's weights."""
        if end.completed and end.summary.get("test"):
            self._write(step=end.step, epoch=end.summary["best_epoch"], split="test", **end.summary["test"])
            self._lines.flush()

    def state(self) -> dict[str, Any]:
        """How long the log is: what a resumed run does again is cut off."""
        return {"offset": self._lines.offset()}

    def _write(self, **event: Any) -> None:
        """Append one event; nan and infinities become null."""
        self._lines.write(json.dumps(plain(event), allow_nan=False))
