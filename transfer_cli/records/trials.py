"""`grid.csv` and its picture: what a fit of many heads tried, and how each did on validation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from transfer_cli.csv_files import write_csv
from transfer_cli.records import plots

NAME = "grid.csv"
Trials = Sequence[dict[str, Any]]


def record_trials(trials: Trials, directory: Path) -> None:
    """Write one row a trial, in the order given; and a heat map of accuracy where rates and decays were both tried."""
    if not trials:
        return
    columns = list(trials[0])
    write_csv(directory / NAME, columns, [[row[column] for column in columns] for row in trials])
    if "lr" in columns:
        _heat_map(trials, directory)


def _heat_map(trials: Trials, directory: Path) -> None:
    """Validation accuracy by rate and decay, the mean over seeds."""
    rates = sorted({row["lr"] for row in trials})
    decays = sorted({row["weight_decay"] for row in trials})
    sums, counts = np.zeros((len(decays), len(rates))), np.zeros((len(decays), len(rates)))
    for row in trials:
        if row["val_accuracy"] is not None:
            cell = decays.index(row["weight_decay"]), rates.index(row["lr"])
            sums[cell] += row["val_accuracy"]
            counts[cell] += 1
    (directory / "plots").mkdir(exist_ok=True)
    with np.errstate(invalid="ignore"):
        plots.grid(sums / counts, rates, decays, directory / "plots" / "grid.png")
