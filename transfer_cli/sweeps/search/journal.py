"""The lock of Optuna's journal: it dies with its process, and mends what a power cut left of the last line."""

from __future__ import annotations

import os
from contextlib import ExitStack
from pathlib import Path

from transfer_cli.locks import FOREVER, locked


class JournalLock:
    """What Optuna holds while it writes a line; a lock of its own is a file that a kill leaves there for 30 s.

    Before a line is written the journal ends with a whole one: what a full disk left of another was never said.
    """

    def __init__(self, journal: Path, lock: Path) -> None:
        """`lock`: a file beside the journal."""
        self._journal, self._lock, self._held = journal, lock, ExitStack()

    def acquire(self) -> bool:
        """Waits for whoever has it."""
        self._held.enter_context(locked(self._lock, FOREVER))
        try:
            _cut_off(self._journal)
        except BaseException:
            self.release()
            raise
        return True

    def release(self) -> None:
        """Lets the next one in."""
        self._held.close()


def _cut_off(journal: Path) -> None:
    """Remove what stands behind the last line break."""
    with journal.open("rb+") as file:
        end = file.seek(0, os.SEEK_END)
        start = end
        while start > 0:
            size = min(4096, start)
            file.seek(start - size)
            newline = file.read(size).rfind(b"\n")
            start -= size
            if newline >= 0:
                start += newline + 1
                break
        if start < end:
            file.truncate(start)
