"""Processes that train an epoch each time they are asked to, so that several take turns on one machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

_ROOT = Path(__file__).parents[3]


@dataclass(frozen=True)
class Turn:
    """One epoch: images, seconds by the clock, and of the processor in this process and its workers."""

    images: int
    seconds: float
    processor: float


class Asked:
    """The side of the process that trains. Whatever else it prints goes to standard error."""

    def __init__(self) -> None:
        self._answers = os.fdopen(os.dup(1), "w")
        os.dup2(2, 1)

    def tell(self, values: Any) -> None:
        """Answer with a line of JSON."""
        print(json.dumps(values), file=self._answers, flush=True)

    def wait(self) -> bool:
        """Until the next turn; False where there is none."""
        return bool(sys.stdin.readline())


class Contender:
    """The side of who asks: `module` of this folder, run with words; `about` is what it says once it is ready."""

    def __init__(self, module: str, *words: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", f"tests.benchmarks.training.{module}", *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=_ROOT,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        self.about = self._answer()

    def __enter__(self) -> Contender:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._process.kill()
        self._process.communicate()

    def turn(self) -> Turn:
        """One epoch, now."""
        assert self._process.stdin is not None
        print(file=self._process.stdin, flush=True)
        return Turn(**self._answer())

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            _, errors = self._process.communicate()
            raise AssertionError(errors)
        return json.loads(line)


def tell_turn(asked: Asked, turn: Turn) -> None:
    """Answer with an epoch that is done."""
    asked.tell(asdict(turn))


def processor_seconds() -> float:
    """Of this process and of the children that it has now (Linux)."""
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    ticks = 0
    for process in ("self", *children):
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")
