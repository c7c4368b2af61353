"""A search for rate and decay against a grid over both, on digits: what it finds, and how much is trained for it."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.bench

WORDS = ["image_size=32", "tune=off", "trainer.epochs=3", "strategy.keep_probe=false", "quiet=true"]
GRID = ["optimizer.lr=1e-4,4e-4,1.6e-3,6.4e-3,2.5e-2", "optimizer.weight_decay=0,1e-4,1e-3,1e-2,1e-1"]
SPACE = ["optimizer.lr=tag(log, interval(1e-4, 2.5e-2))", "optimizer.weight_decay=tag(log, interval(1e-4, 1e-1))"]
TRIALS = 15


def swept(name: str, *words: str) -> tuple[float, float, int]:
    """Runs a sweep; the best accuracy on validation, the seconds it took and the epochs that its jobs trained."""
    started = time.perf_counter()
    subprocess.run([sys.executable, "-m", "transfer_cli", "-m", *WORDS, *words, f"name={name}"], check=True)
    seconds, folder = time.perf_counter() - started, Path("outputs/sweeps", name)
    with (folder / "leaderboard.csv").open() as file:
        best = max(float(row["val_accuracy"]) for row in csv.DictReader(file) if row["status"] == "completed")
    events = [json.loads(line) for log in folder.glob("*/metrics.jsonl") for line in log.read_text().splitlines()]
    return best, seconds, sum(event["split"] == "val" for event in events)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_fifteen_trials_against_a_grid_of_twenty_five(seed: int) -> None:
    grid, grid_seconds, grid_epochs = swept("grid", *GRID, f"seed={seed}")
    found, seconds, epochs = swept("search", *SPACE, f"seed={seed}", "hydra/sweeper=search", f"sweep.trials={TRIALS}")
    print(
        f"\nseed {seed}: the grid's best {100 * grid:.2f} %, the search's {100 * found:.2f} % on validation, with "
        f"{epochs / grid_epochs:.2f} times the epochs and {seconds / grid_seconds:.2f} times the time (target 0.5)"
    )
    assert epochs / grid_epochs < 0.6
    assert found > grid - 0.02
