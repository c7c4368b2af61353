"""Commands that measure themselves, each in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys


def clocked(program: str, *words: str, threads: int) -> dict[str, float]:
    """What `program`, run with the words of a command, prints last: seconds by name, as JSON."""
    done = subprocess.run(
        [sys.executable, "-c", program, *words],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": str(threads)},
    )
    assert done.returncode == 0, done.stderr
    clock = json.loads(done.stdout.splitlines()[-1])
    assert isinstance(clock, dict)
    return clock
