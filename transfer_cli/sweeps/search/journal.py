"""Optuna's journal as a file that outlives kills: its lock dies with its process, a line cut off is no damage."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from filelock import FileLock
from optuna.storages.journal import JournalFileBackend


class SystemLock:
    """A lock that the system takes back from a process that is gone; Optuna's own are files that then stay for 30 s."""

    def __init__(self, path: Path) -> None:
        """`path`: a file of its own."""
        self._lock = FileLock(path)

    def acquire(self) -> bool:
        """Waits for whoever has it."""
        self._lock.acquire()
        return True

    def release(self) -> None:
        """Lets the next one in."""
        self._lock.release()


class SharedJournal(JournalFileBackend):
    """The journal of a study, which any number of processes write."""

    def __init__(self, path: Path, lock: Path) -> None:
        """`lock`: a file beside it."""
        self._journal, self._writing = path, SystemLock(lock)
        # Whatever has these two methods will do.
        super().__init__(str(path), lock_obj=self._writing)  # type: ignore[arg-type]

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Write lines behind the last whole one: what a full disk or a power cut left of another was never said."""
        self._writing.acquire()
        try:
            self._cut_off()
        finally:
            self._writing.release()
        super().append_logs(logs)

    def _cut_off(self) -> None:
        with self._journal.open("rb+") as file:
            end = file.seek(0, os.SEEK_END)
            start = end
            while start > 0:
                size = min(4096, start)
                file.seek(start - size)
                newline = file.read(size).rfind(b"\n")
                if newline >= 0:
                    start += newline + 1 - size
                    break
                start -= size
            if start < end:
                file.truncate(start)
