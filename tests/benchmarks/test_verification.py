"""What a warm run spends on comparing cached bytes with their checksums: a share of its time, in the same run."""

from __future__ import annotations

import statistics

import pytest

from tests.benchmarks.measured import clocked
from tests.conftest import TINY

pytestmark = pytest.mark.bench

RUNS = 5
PROBE = ["strategy=extract", "augment=none", "model.name=resnet18", "model.source=torchvision"]
WORDS = [*TINY, *PROBE, "dataset.samples=10000", "dataset.num_classes=10", "quiet=true"]
MEASURE = """
import json, sys, time
import timm, torch, torch._dynamo, torchvision
from transfer_cli.cache import entries
from transfer_cli.cli import main

real, spent = entries.damage, []
def measured(*arguments, **named):
    started = time.perf_counter()
    found = real(*arguments, **named)
    spent.append(time.perf_counter() - started)
    return found
entries.damage = measured
started = time.perf_counter()
assert main(sys.argv[1:]) == 0
print(json.dumps({"checks": sum(spent), "run": time.perf_counter() - started, "entries": len(spent)}))
"""


def run(name: str) -> dict[str, float]:
    return clocked(MEASURE, *WORDS, f"name={name}", threads=2)


def test_checksums_take_little_of_a_warm_run() -> None:
    run("cold")
    found = [run(f"warm{number}") for number in range(RUNS)]
    assert all(one["entries"] > 0 for one in found)
    share = statistics.median(one["checks"] / one["run"] for one in found)
    seconds = statistics.median(one["run"] for one in found)
    print(f"\nchecksums: {100 * share:.1f} % of a warm probe on 10,000 images ({seconds:.2f} s after imports)")
    assert share <= 0.03
