"""One command and its end by kill -9: after a time, or from outside as it makes its n-th system call of a kind."""

from __future__ import annotations

import contextlib
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from tests.chaos.campaign.forks import ONE_THREAD, Ended, Forked, Forks

CALLS = {
    "rename": "rename,renameat,renameat2",
    "fsync": "fsync",
    "write": "write,pwrite64",
    "unlink": "unlink,unlinkat,rmdir",
}
"""Kinds of system calls at which a kill can leave something half done, and what the kernel calls them."""
LIMIT_SECONDS = 120
_EXIT_FAILED = 3


@dataclass(frozen=True)
class Kill:
    """When a command is killed."""

    seconds: float | None = None
    call: str = ""
    number: int = 0

    def __str__(self) -> str:
        return f"after {self.seconds:.2f} s" if self.seconds is not None else f"at {self.call} {self.number}"


@dataclass(frozen=True)
class Whole:
    """What a command that nobody touched takes."""

    seconds: float
    calls: dict[str, int]
    """The most that one thread makes of each kind."""

    def kill(self, draw: random.Random, *, by_the_clock: bool, earlier: int) -> Kill:
        """A moment in it, or in what is left of it after `earlier` kills."""
        left = 1 / (1 + earlier)
        kinds = [kind for kind in CALLS if self.calls[kind]]
        if by_the_clock or not kinds:
            return Kill(seconds=draw.uniform(0.02, 0.9) * self.seconds * left)
        kind = draw.choice(kinds)
        return Kill(call=kind, number=draw.randint(1, max(1, round(self.calls[kind] * left))))


@dataclass
class Commands:
    """Starts commands, and kills them."""

    forks: Forks
    groups: list[int] = field(default_factory=list)
    """Of all processes that were killed: what they leave behind must end by itself."""

    def whole(self, folder: Path, words: list[str]) -> Whole:
        """Run a command to its end, counting its system calls. Raises RuntimeError where it fails."""
        with tempfile.TemporaryDirectory() as place, self._started(folder, words, Path(place)) as command:
            log = Path(place, "strace.log")
            tracer = _attached(command, ["--trace", ",".join(CALLS.values()), "--output", str(log)])
            started = time.monotonic()
            command.let_go()
            ended = ended_within(LIMIT_SECONDS, command)
            seconds = time.monotonic() - started
            tracer.wait()
            if ended.code != 0:
                raise RuntimeError(f"exit code {ended.code}:\n{ended.output}")
            return Whole(seconds, _counted(log))

    def killed(self, folder: Path, words: list[str], kill: Kill, *, workers: bool) -> bool:
        """Start a command and kill it; whether that came before its end. Raises RuntimeError where it ends otherwise.

        The n-th call may be one of a loader worker's, after which the run says so and ends.
        """
        with tempfile.TemporaryDirectory() as place, self._started(folder, words, Path(place)) as command:
            injected = f"--inject={CALLS[kill.call]}:signal=SIGKILL:when={kill.number}" if kill.call else None
            tracer = _attached(command, [injected, "--output", os.devnull]) if injected else None
            self.groups.append(command.pid)
            command.let_go()
            # Only the process itself: those that it has started must notice.
            ended = ended_within(LIMIT_SECONDS if kill.seconds is None else kill.seconds, command)
            if tracer:
                tracer.wait()
        of_a_worker = workers and injected and ended.code == _EXIT_FAILED and "worker" in ended.output
        if ended.code in (-signal.SIGKILL, 0) or of_a_worker:
            return ended.code != 0
        raise RuntimeError(f"{kill}: exit code {ended.code}:\n{ended.output}")

    def _started(self, folder: Path, words: list[str], place: Path) -> contextlib.AbstractContextManager[Forked]:
        return self.forks.started(words, folder, environment(folder), place / "output")

    def left(self, seconds: float = 15) -> list[int]:
        """Process groups of which something is still there after a while; it is ended now."""
        deadline = time.monotonic() + seconds
        while any(map(_is_there, self.groups)) and time.monotonic() < deadline:
            time.sleep(0.1)
        found = [group for group in self.groups if _is_there(group)]
        for group in found:
            os.killpg(group, signal.SIGKILL)
        self.groups.clear()
        return found


def as_started(folder: Path, words: list[str]) -> None:
    """Run a command to its end as a user starts it. Raises RuntimeError where it fails."""
    command = [sys.executable, "-m", "transfer_cli", *words]
    told = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    ended = subprocess.run(command, cwd=folder, env=environment(folder), text=True, check=False, **told)  # type: ignore[call-overload]
    if ended.returncode != 0:
        raise RuntimeError(f"exit code {ended.returncode}:\n{ended.stdout}")


def ended_within(seconds: float, command: Forked) -> Ended:
    """The end of a command that was let go, by a kill where it takes longer."""
    timer = threading.Timer(seconds, os.kill, (command.pid, signal.SIGKILL))
    timer.start()
    try:
        return command.wait()
    finally:
        timer.cancel()


def failed_at(forks: Forks, folder: Path, words: list[str], call: str, error: str, number: int) -> Ended:
    """The end of a command whose n-th call of a kind, in each of its threads, the system refuses with an error."""
    injected = f"--inject={CALLS[call]}:error={error}:when={number}"
    output = folder.with_suffix(".output")
    with forks.started(words, folder, environment(folder), output) as command:
        tracer = _attached(command, [injected, "--output", os.devnull])
        command.let_go()
        ended = ended_within(LIMIT_SECONDS, command)
        tracer.wait()
        return ended


def _attached(command: Forked, arguments: list[str]) -> subprocess.Popen[bytes]:
    words = ["strace", "--follow-forks", "--quiet=all", *arguments, "--attach", str(command.pid)]
    tracer = subprocess.Popen(words, stderr=subprocess.DEVNULL)
    status = Path("/proc") / str(command.pid) / "status"
    while re.search(r"TracerPid:\s+0$", status.read_text(), re.MULTILINE):
        if tracer.poll() is not None:
            raise RuntimeError(f"strace ends with {tracer.returncode}: may it trace processes here?")
        time.sleep(0.01)
    return tracer


def _counted(log: Path) -> dict[str, int]:
    """By kind of call the most that one thread made; strace counts each thread's for itself."""
    calls: Counter[tuple[str, str]] = Counter()
    by_name = {name: kind for kind, names in CALLS.items() for name in names.split(",")}
    for line in log.read_text(errors="replace").splitlines():
        found = re.match(r"(\d+) +(\w+)\(", line)
        if found and found[2] in by_name:
            calls[by_name[found[2]], found[1]] += 1
    return {kind: max([count for (own, _), count in calls.items() if own == kind], default=0) for kind in CALLS}


def _is_there(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def environment(folder: Path) -> dict[str, str]:
    """One thread, a cache in `folder`, no network; compiled modules are not written, which would be system calls."""
    return {**os.environ, **ONE_THREAD, "TRANSFER_RUN_CACHE": str(folder / "cache"), "HF_HUB_OFFLINE": "1"}
