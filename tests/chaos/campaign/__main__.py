"""Kill transfer-run at least a hundred times, and see that every chain of kills ends in the bytes of a run left alone.

    python -m tests.chaos.campaign              `make chaos`: over a hundred kills, all cases
    python -m tests.chaos.campaign 20 sam grid  twenty kills of these two

Half of the kills come at random moments, half as the process makes its n-th rename, fsync, write or unlink (strace
sends SIGKILL). What they are compared with was started as a user starts it; what is killed forks from a process that
has imported already (`forks`). Prints what was killed where, and the counts; exit code 1 where a chain ended otherwise,
left a file half written or a process running, or where a control was not noticed.
"""

from __future__ import annotations

import random
import shutil
import sys
import tempfile
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from tests.chaos.campaign.cases import CASES, Case, make_photos
from tests.chaos.campaign.controls import CONTROLS
from tests.chaos.campaign.forks import Forks
from tests.chaos.campaign.kills import Commands, Kill, Whole, as_started

KILLS = 105
IN_A_CHAIN = 5
PROCESSES = 2
PAUSE_SECONDS = 0.6
"""From a kill to the next start: a file of a moment ago may be another process's, and no real start is sooner."""


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

    def by_the_clock(self, earlier: int) -> bool:
        """Whether the next kill is one by the clock, so that they are half of all; every second one of a chain's."""
        with self.lock:
            done = sum(not kill.call for kill in self.kills)
        return (2 * done <= len(self.kills)) == (earlier % 2 == 0)


@dataclass(frozen=True)
class Subject:
    """A case, as it ends when nobody touches it."""

    name: str
    case: Case
    template: Path
    """A folder with what the case needs before it can run."""
    length: Whole
    results: dict[str, bytes]

    def chain(self, forks: Forks, tally: Tally, draw: random.Random) -> tuple[list[Kill], str | None]:
        """Kill the command again and again, then let it finish; the kills, and what is wrong with its end."""
        commands, kills = Commands(forks), list[Kill]()
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place, "own")
            shutil.copytree(self.template, folder)
            try:
                for earlier in range(IN_A_CHAIN):
                    kill = self.length.kill(draw, by_the_clock=tally.by_the_clock(earlier), earlier=earlier)
                    if not commands.killed(folder, self.case.command, kill, workers=self.case.workers):
                        break
                    kills.append(kill)
                    time.sleep(PAUSE_SECONDS)
                commands.whole(folder, self.case.command)
                left = [f"processes are left of {kill}" for kill in commands.left()]
            except RuntimeError as error:
                return kills, str(error)
            return kills, "; ".join([*wrong(self.results, folder, self.case), *left]) or None


def wrong(results: dict[str, bytes], folder: Path, case: Case) -> list[str]:
    """What is not in a folder as it is where nobody touched the command, and what is there and should not be."""
    found = case.found(folder)
    other = sorted(name for name in {*results, *found} if results.get(name) != found.get(name))
    left = sorted(str(path.relative_to(folder)) for path in folder.rglob(".*") if is_half_written(path))
    said = [f"other bytes in {', '.join(other)}"] if other else []
    return [*said, *([f"left behind: {', '.join(left)}"] if left else [])]


def is_half_written(path: Path) -> bool:
    """Whether a file or folder is what a write that never ended leaves."""
    return path.name.endswith(".writing") or path.name.startswith((".writing-", ".filling-"))


def left_alone(name: str, template: Path, forks: Forks) -> Subject:
    """Run a case to its end twice: as a user starts it, and from a process that has imported, which gives the same."""
    case = CASES[name]
    template.mkdir()
    if case.photos:
        make_photos(template)
    if case.before:
        Commands(forks).whole(template, [*case.before])
    with tempfile.TemporaryDirectory() as place:
        one, other = Path(place, "one"), Path(place, "other")
        for folder in (one, other):
            shutil.copytree(template, folder)
        as_started(one, case.command)
        results = case.found(one)
        assert results, f"{name}: there is nothing to compare"
        length = Commands(forks).whole(other, case.command)
        problems = wrong(results, other, case)
        assert not problems, f"{name}: two runs that nobody touched are not the same: {problems}"
        return Subject(name, case, template, length, results)


def main(words: list[str]) -> int:
    """Run the campaign; exit code 0 where every chain ended as it should and every control was noticed."""
    started, tally = time.monotonic(), Tally()
    kills = int(words[0]) if words else KILLS
    names = words[1:] or list(CASES)
    forks = Forks(2 * PROCESSES)
    with ThreadPoolExecutor(PROCESSES) as pool, tempfile.TemporaryDirectory() as place:
        subjects = list(pool.map(lambda name: left_alone(name, Path(place, name), forks), names))
        print(f"{len(subjects)} commands run to their ends in {time.monotonic() - started:.0f} s", flush=True)
        list(pool.map(lambda first: _kill(subjects, first, kills, forks, tally), range(PROCESSES)))
        for name, problem in pool.map(lambda control: (control[0], control[1](Commands(forks))), CONTROLS.items()):
            print(f"control: {name}: {problem or 'noticed'}", flush=True)
            tally.wrong += [f"control: {name}: {problem}"] if problem else []
    forks.close()
    _report(tally, len(names), time.monotonic() - started)
    return 1 if tally.wrong else 0


def _kill(subjects: list[Subject], first: int, kills: int, forks: Forks, tally: Tally) -> None:
    """One worker's chains: every case in its turn, until there are enough kills or nothing but trouble."""
    number = first
    while len(tally.kills) < kills and len(tally.wrong) <= len(subjects):
        subject = subjects[number % len(subjects)]
        tally.add(subject.name, *subject.chain(forks, tally, random.Random(number)))
        number += PROCESSES


def _report(tally: Tally, commands: int, seconds: float) -> None:
    kinds = Counter(kill.call for kill in tally.kills)
    calls = ", ".join(f"{count} at {kind}" for kind, count in sorted(kinds.items()) if kind)
    print(
        f"{len(tally.kills)} kills ({kinds['']} by the clock; {calls}) in {tally.chains} chains over {commands} "
        f"commands, {seconds:.0f} s"
    )
    for line in tally.wrong:
        print(f"WRONG {line}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
