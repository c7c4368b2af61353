"""Signs of life of ranks, for whoever waits for them outside of collectives: one that is killed says nothing."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from itertools import count
from typing import Any

BEAT_SECONDS = 5.0
LOST_SECONDS = 50.0
"""Without a sign a rank is gone, or so slow that it comes to the same."""


def beat(store: Any, rank: int) -> None:
    """Give signs of life in a thread of its own, as long as this process and the store live."""

    def go_on() -> None:
        with suppress(RuntimeError):
            for number in count():
                store.set(_key(rank), str(number))
                time.sleep(BEAT_SECONDS)

    threading.Thread(target=go_on, name="signs of life", daemon=True).start()


class Pulse:
    """What one rank that waits has seen of the others."""

    def __init__(self, store: Any, ranks: range) -> None:
        self._store, self._ranks = store, ranks
        self._seen: dict[int, tuple[bytes, float]] = {}
        self._looked = time.monotonic()

    def lost(self) -> int | None:
        """A rank that has shown no sign of life for long, while this one waited; those that never did do not count."""
        now = time.monotonic()
        if now - self._looked < min(BEAT_SECONDS, LOST_SECONDS / 2):
            return None
        self._looked = now
        for rank in self._ranks:
            if not self._store.check([_key(rank)]):
                continue
            sign, since = self._store.get(_key(rank)), self._seen.get(rank, (b"", now))
            if sign != since[0]:
                self._seen[rank] = (sign, now)
            elif now - since[1] > LOST_SECONDS:
                return rank
        return None


def _key(rank: int) -> str:
    return f"alive {rank}"
