"""What this process keeps of freed memory, and its peak."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

linux = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="Linux alone tells a program's own peak")
glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc alone gives memory back so soon")

FAULTS = """
import resource
from transfer_cli.engine.devices import memory
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    b"x" * 100_000_000
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
memory.keep_freed()
faults()
print(faults())
"""


def run(code: str, **environment: str) -> int:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_"))}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={**clean, **environment}
    )
    return int(done.stdout)


@glibc
def test_freed_memory_is_used_again() -> None:
    """A hundred megabytes are 24,000 pages; the second time none of them comes from the system."""
    assert run(FAULTS) < 100


@glibc
@pytest.mark.parametrize("name", ["MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES"])
def test_what_the_user_has_set_stays(name: str) -> None:
    value = "100000" if name.startswith("MALLOC") else "glibc.malloc.mmap_threshold=100000"
    assert run(FAULTS, **{name: value}) > 20_000


@linux
def test_the_peak_is_not_that_of_the_process_which_started_this_one() -> None:
    """The parent holds a gigabyte, more than the child needs."""
    ask = "from transfer_cli.engine.devices import memory; print(memory.peak_bytes())"
    hold = f"import subprocess, sys; held = bytearray(b'x') * 10**9; subprocess.run([sys.executable, '-c', {ask!r}])"
    assert 10**6 < run(hold) < 10**9


@linux
def test_the_peak_of_an_earlier_job_in_the_process_is_forgotten() -> None:
    code = "held = bytearray(b'x') * 10**9; del held; memory.count_peak_from_here(); print(memory.peak_bytes())"
    assert run(f"from transfer_cli.engine.devices import memory; {code}") < 10**9
