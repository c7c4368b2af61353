"""Kill transfer-run at least a hundred times, and see that every chain of kills ends in the bytes of a run left alone.

    python -m tests.chaos.campaign              `make chaos`: about a hundred kills, all cases
    python -m tests.chaos.campaign 20 sam grid  twenty kills of these two

Half of the kills come at random moments, half as the process makes its n-th rename, fsync or write (strace sends
SIGKILL). Prints what was killed where, and the counts; exit code 1 where a chain ended otherwise, left a file half
written, or where a control was not noticed.
"""

from __future__ import annotations

import random
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from tests.chaos.campaign.cases import CASES, Case, make_photos
from tests.chaos.campaign.controls import CONTROLS
from tests.chaos.campaign.kills import Kill, Whole, killed, whole

KILLS = 100
IN_A_CHAIN = 4
PROCESSES = 2


@dataclass
class Tally:
    """What has happened so far, over all chains."""

    kills: list[Kill] = field(default_factory=list)
    chains: int = 0
    wrong: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, case: str, kills: list[Kill], problem: str | None) -> None:
        """Count a chain, and print it."""
        with self.lock:
            self.kills += kills
            self.chains += 1
            self.wrong += [f"{case}: {problem}"] if problem else []
            print(f"{case:15} {problem or 'equal'}; killed {', '.join(map(str, kills)) or 'never'}", flush=True)


@dataclass(frozen=True)
class Subject:
    """A case, as it ends when nobody touches it."""

    name: str
    case: Case
    length: Whole
    results: dict[str, bytes]

    def chain(self, draw: random.Random) -> tuple[list[Kill], str | None]:
        """Kill the command again and again, then let it finish; the kills, and what is wrong with its end."""
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place)
            kills: list[Kill] = []
            try:
                prepare(folder, self.case)
                for _ in range(IN_A_CHAIN):
                    kill = self.length.kill(draw)
                    if not killed(folder, self.case.command, kill):
                        break
                    kills.append(kill)
                whole(folder, self.case.command)
            except RuntimeError as error:
                return kills, str(error)
            return kills, self._wrong(folder)

    def _wrong(self, folder: Path) -> str | None:
        results = self.case.results(folder)
        other = [name for name in self.results if results.get(name) != self.results[name]]
        left = [str(path.relative_to(folder)) for path in folder.rglob(".*") if is_half_written(path)]
        found = [f"other bytes in {', '.join(other)}"] if other else []
        return "; ".join([*found, *([f"left behind: {', '.join(left)}"] if left else [])]) or None


def is_half_written(path: Path) -> bool:
    """Whether a file or folder is what a write that never ended leaves."""
    return path.name.endswith(".writing") or path.name.startswith((".writing-", ".filling-"))


def prepare(folder: Path, case: Case) -> None:
    """What a case needs before it can run."""
    if case.photos:
        make_photos(folder)
    if case.before:
        whole(folder, [*case.before])


def left_alone(name: str) -> Subject:
    """Run a case to its end."""
    case = CASES[name]
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        prepare(folder, case)
        length = whole(folder, case.command)
        return Subject(name, case, length, case.results(folder))


def main(words: list[str]) -> int:
    """Run the campaign; exit code 0 where every chain ended as it should and every control was noticed."""
    started, tally = time.monotonic(), Tally()
    kills = int(words[0]) if words else KILLS
    names = words[1:] or list(CASES)
    draw = random.Random(0)
    with ThreadPoolExecutor(PROCESSES) as pool:
        subjects = list(pool.map(left_alone, names))
        print(f"{len(subjects)} commands run to their ends in {time.monotonic() - started:.0f} s", flush=True)

        def work(number: int) -> None:
            subject = subjects[number % len(subjects)]
            with tally.lock:
                own = random.Random(draw.random())
            tally.add(subject.name, *subject.chain(own))

        number = 0
        while len(tally.kills) < kills and not len(tally.wrong) > len(names):
            list(pool.map(work, range(number, number + PROCESSES)))
            number += PROCESSES
        for name, control in CONTROLS.items():
            problem = control()
            print(f"control: {name}: {problem or 'noticed'}", flush=True)
            tally.wrong += [f"control: {name}: {problem}"] if problem else []
    at_calls = sum(bool(kill.call) for kill in tally.kills)
    print(
        f"{len(tally.kills)} kills ({len(tally.kills) - at_calls} by the clock, {at_calls} at system calls) in "
        f"{tally.chains} chains over {len(names)} commands, {time.monotonic() - started:.0f} s"
    )
    for line in tally.wrong:
        print(f"WRONG {line}")
    return 1 if tally.wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
