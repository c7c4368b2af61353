"""One command and its end by kill -9: after a time, or from outside as it makes its n-th system call of a kind."""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

CALLS = {"rename": "rename,renameat,renameat2", "fsync": "fsync", "write": "write,pwrite64"}
"""Kinds of system calls at which a kill can leave something half done, and what the kernel calls them."""
LIMIT_SECONDS = 120
_TRACE = ["strace", "--follow-forks", "--seccomp-bpf", "--quiet=all"]


@dataclass(frozen=True)
class Kill:
    """When a command is killed."""

    seconds: float | None = None
    call: str = ""
    number: int = 0

    def __str__(self) -> str:
        return f"after {self.seconds:.1f} s" if self.seconds is not None else f"at {self.call} {self.number}"


@dataclass(frozen=True)
class Whole:
    """What a command that nobody touched takes."""

    seconds: float
    calls: dict[str, int]
    """The most that one thread makes of each kind."""

    def kill(self, draw: random.Random) -> Kill:
        """A moment in it: half by the clock, half at a system call."""
        kinds = [kind for kind in CALLS if self.calls[kind]]
        if draw.random() < 0.5 or not kinds:
            return Kill(seconds=draw.uniform(0.2, 0.8) * self.seconds)
        kind = draw.choice(kinds)
        return Kill(call=kind, number=draw.randint(1, self.calls[kind]))


def whole(folder: Path, words: list[str]) -> Whole:
    """Run a command to its end, counting its system calls. Raises RuntimeError where it fails."""
    log = folder / "strace.log"
    traced = ["--trace", ",".join(CALLS.values()), "--output", str(log)]
    started = time.monotonic()
    ended = _start(folder, [*_TRACE, *traced], words)
    out, _ = ended.communicate(timeout=LIMIT_SECONDS)
    if ended.returncode != 0:
        raise RuntimeError(f"exit code {ended.returncode}:\n{out}")
    # strace counts the calls of each thread for itself.
    calls: Counter[tuple[str, str]] = Counter()
    by_name = {name: kind for kind, names in CALLS.items() for name in names.split(",")}
    for line in log.read_text(errors="replace").splitlines():
        found = re.match(r"(\d+) +(\w+)\(", line)
        if found and found[2] in by_name:
            calls[by_name[found[2]], found[1]] += 1
    log.unlink()
    most = {kind: max([count for (own, _), count in calls.items() if own == kind], default=0) for kind in CALLS}
    return Whole(time.monotonic() - started, most)


def killed(folder: Path, words: list[str], kill: Kill) -> bool:
    """Start a command and kill it; whether that came before its end. Raises RuntimeError where it ends otherwise."""
    injected = [f"--inject={CALLS[kill.call]}:signal=SIGKILL:when={kill.number}"] if kill.call else []
    process = _start(folder, [*_TRACE, *injected] if injected else [], words)
    try:
        out, _ = process.communicate(timeout=kill.seconds if kill.seconds is not None else LIMIT_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        out, _ = process.communicate()
    if process.returncode in (-signal.SIGKILL, 128 + signal.SIGKILL):
        return True
    if process.returncode == 0:
        return False
    raise RuntimeError(f"{kill}: exit code {process.returncode}:\n{out}")


def _start(folder: Path, prefix: list[str], words: list[str]) -> subprocess.Popen[str]:
    """In a session of its own, so that nothing outlives a kill of the group."""
    return subprocess.Popen(
        [*prefix, sys.executable, "-m", "transfer_cli", *words],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        env=environment(folder),
    )


def environment(folder: Path) -> dict[str, str]:
    """One thread, a cache in `folder`, no network; compiled modules are not written, which would be system calls."""
    own = {"TRANSFER_RUN_CACHE": str(folder / "cache"), "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    return {**os.environ, "HF_HUB_OFFLINE": "1", **own}
