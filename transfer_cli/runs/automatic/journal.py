"""What mode=auto has decided and how long it has worked, so that a kill loses neither."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

from transfer_cli.engine.stop import Stop, ends_if_asked
from transfer_cli.errors import EXIT_PREEMPTED, UserError
from transfer_cli.files import has_signature, read_signed_json, write_signed_json

NAME = "auto.json"
HEARTBEAT = 2.0
"""Seconds between two notes of the time that was spent."""


class Journal:
    """`auto.json`: the decisions by name, in their order, and the seconds spent; entered while work goes on.

    A decision that is there already is not made again, so it must be one that was made: the file has its checksum.
    """

    def __init__(
        self, directory: Path, budget: float, clock: Callable[[], float] = time.monotonic, since: float | None = None
    ) -> None:
        """`since`: when, by the clock, this process began to work; None: when the journal is entered."""
        self.path = directory / NAME
        self.budget = budget
        self._clock, self._lock, self._ended = clock, threading.Lock(), threading.Event()
        self._decisions, self._before = self._read()
        self._since, self._begun = since, clock()
        self._thread = threading.Thread(target=self._beat, daemon=True)

    def __enter__(self) -> Journal:
        self._begun = self._clock() if self._since is None else self._since
        self._write()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()
        self._write()

    @property
    def spent(self) -> float:
        """Seconds of work, those of earlier processes included."""
        return self._before + self._clock() - self._begun

    @property
    def left(self) -> float:
        """Seconds of the budget that are left."""
        return self.budget - self.spent

    def has(self, name: str) -> bool:
        """Whether that was decided already."""
        return name in self._decisions

    def get(self, name: str) -> Any:
        """The decision of that name; None where it is not made yet."""
        return self._decisions.get(name)

    def decide(self, name: str, make: Callable[[], Any]) -> Any:
        """The decision of that name: as it was made before, or made and noted now."""
        if name not in self._decisions:
            with ends_if_asked(f"after it had the {name}; the same command with resume=auto goes on"):
                value = make()
                with self._lock:
                    self._decisions[name] = value
                self._write()
        return self._decisions[name]

    def _read(self) -> tuple[dict[str, Any], float]:
        try:
            if not has_signature(self.path):
                raise ValueError("no checksum: of an earlier version of transfer-run, which can finish it, or changed")
            found = read_signed_json(self.path)
            return dict(found["decisions"]), float(found["seconds_spent"])
        except FileNotFoundError:
            return {}, 0.0
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(
                f"{self.path} cannot be read ({error}). Choose another name, or remove {self.path.parent}."
            ) from error

    def _write(self) -> None:
        with self._lock:
            spent = round(self.spent, 1)
            found = {"budget": self.budget, "seconds_spent": spent, "decisions": self._decisions}
            write_signed_json(self.path, found)

    def _beat(self) -> None:
        while not self._ended.wait(HEARTBEAT):
            self._write()


class Deadline(Stop):
    """Asks for an end where a signal does, and once the journal has less than `reserve` seconds left."""

    def __init__(self, journal: Journal, reserve: float) -> None:
        self._journal, self._reserve = journal, reserve
        self._code: int | None = None
        super().__init__()

    @property
    def over(self) -> bool:
        """Whether time is up."""
        return self._journal.left < self._reserve

    @property
    def signalled(self) -> bool:
        """Whether a signal asked for the end."""
        return self._code is not None

    @property
    def code(self) -> int | None:
        """As of Stop; being late counts as being asked to make room."""
        return self._code if self._code is not None else EXIT_PREEMPTED if self.over else None

    @code.setter
    def code(self, value: int | None) -> None:
        self._code = value
