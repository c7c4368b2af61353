"""How a sweep stands while it runs, as its folder tells all who share it: what stays on the terminal below its jobs."""

from __future__ import annotations

import re
import statistics
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from time import monotonic

from transfer_cli.command.overrides import words_in
from transfer_cli.config.schema import Experiment
from transfer_cli.methods.comparison import shown
from transfer_cli.records.terminal import Reporter
from transfer_cli.records.text import duration, fit
from transfer_cli.sweeps import leaderboard
from transfer_cli.sweeps.configurations import configurations
from transfer_cli.sweeps.ledger import COMPLETED, ENDED, FAILED, FILE, PRUNED, RUNNING, WAITING, status, words_by_name

_GROUPS = re.compile(r"^[^=]*[./](?=[^=]*=)")
_LOOK_SECONDS = 1.0
_SHARE_OF_TIME = 0.005
"""That looking at the folder may take, however many jobs it has."""


class Standing:
    """Counts the jobs of a sweep by how they stand, finds the best so far and how long the others take."""

    def __init__(self, folder: Path, swept: Collection[str], trials: int | None = None) -> None:
        """`swept`: the keys that tell its jobs apart. A search has so many `trials`, whose jobs come one by one."""
        self._folder, self._swept, self._trials = folder, swept, trials
        self._ledger_time = 0
        self._words: Mapping[str, Sequence[str]] = {}
        self._done: dict[str, leaderboard.Row] = {}
        self._counts: Counter[str] = Counter()
        self._best: list[str] = []
        self._own, self._own_since, self._asked = "", 0.0, 0
        self._next_look = 0.0

    @contextmanager
    def shown(self, reporter: Reporter, jobs: Sequence[Experiment]) -> Iterator[Callable[[], None]]:
        """Keep it on the terminal in the block; gives what draws it anew.

        Not where a job may run in several processes of its own, which write to the same terminal.
        """
        if any(e.trainer.devices != 1 for e in jobs):
            yield lambda: None
            return
        with reporter.standing(self.lines) as redraw:
            yield redraw

    def begins(self, job: str, asked: int = 0) -> None:
        """This process runs that job now; so many trials have been asked for by then."""
        self._own, self._own_since, self._asked = job, monotonic(), asked
        self._next_look = 0.0

    def lines(self, width: int) -> list[str]:
        """How many jobs are done, running, waiting and failed, the time left; and the best, in so many columns."""
        now = monotonic()
        if now >= self._next_look:
            # No training ends since a disk was away for a moment.
            with suppress(OSError):
                self._look()
            took = monotonic() - now
            self._next_look = now + max(_LOOK_SECONDS, took / _SHARE_OF_TIME)
        first = fit(self._parts(now), width)
        return [first, _narrowed(self._best, width)] if self._best else [first]

    def _look(self) -> None:
        """Read what may have changed: a job that is done stays so."""
        ledger = self._folder / FILE
        changed = ledger.stat().st_mtime_ns if ledger.is_file() else 0
        if changed != self._ledger_time:
            self._ledger_time, self._words = changed, words_by_name(self._folder)
        before = len(self._done)
        self._counts = Counter(self._status(name, words) for name, words in self._words.items())
        if len(self._done) > before:
            self._best = self._best_of(sorted(self._done.values(), key=leaderboard.rank_of))

    def _status(self, name: str, words: Sequence[str]) -> str:
        if name in self._done:
            return str(self._done[name]["status"])
        found = status(self._folder / name)
        if found in (COMPLETED, PRUNED) and (self._folder / name / ENDED).is_file():
            self._done[name] = leaderboard.row(self._folder / name, words)
        if found in (COMPLETED, PRUNED, FAILED):
            return found
        return RUNNING if name == self._own or found == RUNNING else WAITING

    def _best_of(self, rows: Sequence[leaderboard.Row]) -> list[str]:
        """Its score and its words; nothing where none has a score."""
        best = configurations(rows)[0]
        if best.val is None:
            return []
        # Of a key that is said twice, once for all jobs, the later word holds.
        words = {word.partition("=")[0]: word for word in words_in(best.overrides)}
        own = [word for key, word in words.items() if key in self._swept]
        return [f"best   {best.metric} {shown(best.val, best.metric)}", *own]

    def _parts(self, now: float) -> list[tuple[int, str]]:
        counts = self._counts
        done, running, failed = counts[COMPLETED] + counts[PRUNED], counts[RUNNING], counts[FAILED]
        waiting = counts[WAITING]
        if self._trials is not None:
            waiting = max(self._trials - max(self._asked, done + running + failed), 0)
        left = self._seconds_left(waiting, running, now)
        return [
            (0, f"sweep  {done}/{done + running + failed + waiting} done"),
            (2, f"{running} running"),
            (3, f"{waiting} waiting"),
            (1 if failed else 4, f"{failed} failed"),
            *([(5, f"{counts[PRUNED]} pruned")] if counts[PRUNED] else []),
            *([] if left is None else [(1, f"{duration(left)} left")]),
        ]

    def _seconds_left(self, waiting: int, running: int, now: float) -> float | None:
        """As long as half of the jobs so far took at most, for each, as many at once as run now."""
        took: list[float] = [row["seconds"] for row in self._done.values() if row["seconds"] is not None]
        if not took:
            return None
        usual = statistics.median(took)
        of_running = max(usual - (now - self._own_since), 0.0) * running
        return (usual * waiting + of_running) / max(running, 1)


def _narrowed(parts: Sequence[str], width: int) -> str:
    """The parts in one line: keys without their groups where it is too narrow, and cut where it still is."""
    text = "  ".join(parts)
    if len(text) > width:
        text = "  ".join([parts[0], *(_GROUPS.sub("", part) for part in parts[1:])])
    return text if len(text) <= width else f"{text[: max(width - 3, 0)]}..."
