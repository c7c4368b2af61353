"""`metrics.jsonl`: a line an event, append only, so that a kill at any moment leaves a valid log."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Self

from transfer_cli.errors import RunError
from transfer_cli.files import AppendedLines, atomic_write_bytes, parsed_json, plain
from transfer_cli.records.events import EpochEnd, Recorder, RecorderSetup, RunEnd

Event = dict[str, Any]


NAME = "metrics.jsonl"


def read(path: Path) -> tuple[list[Event], int]:
    """The events of all lines that are whole, in order, and how many lines are none. Raises OSError."""
    lines = _lines(path.read_bytes())
    events = [parsed_json(line) for line in lines if _is_event(line)]
    return events, len(lines) - len(events)


def _mend(path: Path, offset: int) -> int | None:
    """Keep the whole lines among the first `offset` bytes; how many there are, or None where none is missing."""
    content = path.read_bytes()[:offset] if path.is_file() else b""
    lines = _lines(content)
    whole = [line for line in lines if _is_event(line)]
    if len(content) == offset and whole == lines:
        return None
    atomic_write_bytes(path, b"".join(line + b"\n" for line in whole))
    return len(whole)


def _lines(content: bytes) -> list[bytes]:
    return [line for line in content.split(b"\n") if line]


def _is_event(line: bytes) -> bool:
    try:
        event = parsed_json(line)
    except ValueError:
        return False
    if not isinstance(event, dict) or not isinstance(event.get("split"), str):
        return False
    numbers = {name: value for name, value in event.items() if name not in ("split", "loss_parts")}
    return {"epoch", "loss"} <= numbers.keys() and all(
        value is None or isinstance(value, int | float) for value in numbers.values()
    )


class MetricsRecorder(Recorder):
    """Writes a line for every split of every epoch, and one for the test split."""

    def __init__(self, path: Path, offset: int = 0) -> None:
        """`offset`: the bytes of `path` that a resumed run keeps."""
        self._lines = AppendedLines(path, offset)

    @classmethod
    def of_run(cls, setup: RecorderSetup) -> Self:
        """Going on where the resumed state was saved."""
        path, offset = setup.directory / NAME, setup.saved.get("offset", 0)
        if not isinstance(offset, int):
            raise RunError(f"{path}: the state that the run goes on from does not say how long the log was.")
        left = _mend(path, offset)
        if left is not None:
            setup.reporter.warn(f"{path}: lines have changed or are gone since they were written; going on with {left}")
        return cls(path, offset)

    def epoch_ends(self, end: EpochEnd) -> None:
        """The lines are with the system when this returns, whatever becomes of the process. Raises OSError."""
        rest: Event = {}
        if end.learning_rate is not None:
            rest["learning_rate"] = end.learning_rate
        if end.loss_parts:
            rest["loss_parts"] = dict(end.loss_parts)
        for split, scores in end.splits.items():
            more = rest if split == "train" else {}
            self._write(step=end.step, epoch=end.epoch, split=split, **scores, **more, **end.candidate)

    def run_ends(self, end: RunEnd) -> None:
        """The scores on the test split, of the best epoch's weights."""
        if end.completed and end.summary.get("test"):
            self._write(step=end.step, epoch=end.summary["best_epoch"], split="test", **end.summary["test"])
            self._lines.flush()

    def state(self) -> dict[str, Any]:
        """How long the log is, all of it on the disk: what a resumed run does again is cut off. Raises OSError."""
        self._lines.flush()
        return {"offset": self._lines.offset()}

    def _write(self, **event: Any) -> None:
        """Append one event; nan and infinities become null."""
        self._lines.write(json.dumps(plain(event), allow_nan=False))
