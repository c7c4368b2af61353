"""`parameters.csv`, and the same in a line: what trains, at which rate, from which epoch on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from transfer_cli.csv_files import write_csv

NAME = "parameters.csv"


@dataclass(frozen=True)
class Row:
    """Parameters of one stage that share everything; `rate`, `decay` and `epoch` (from 1) are None for frozen ones."""

    stage: str
    parameters: int
    rate: float | None = None
    decay: float | None = None
    epoch: int | None = None


def write_parameters(rows: Sequence[Row], directory: Path) -> None:
    """One row a group, from the lowest stage up; cells of frozen parameters are empty."""
    columns = ["stage", "parameters", "learning_rate", "weight_decay", "trains_from_epoch"]
    write_csv(directory / NAME, columns, [[r.stage, r.parameters, r.rate, r.decay, r.epoch] for r in rows])


def in_a_line(rows: Sequence[Row]) -> str:
    """`stem to block4 frozen, block5 0.0005, head 0.001 from epoch 2`: stages that are alike together."""
    stages = [(name, _what(list(own))) for name, own in groupby(rows, lambda row: row.stage)]
    parts = []
    for what, alike in groupby(stages, lambda stage: stage[1]):
        names = [name for name, _ in alike]
        parts.append(f"{names[0] if len(names) == 1 else f'{names[0]} to {names[-1]}'} {what}")
    return ", ".join(parts)


def _what(rows: list[Row]) -> str:
    rates = list(dict.fromkeys(f"{row.rate:g}" for row in rows if row.rate is not None))
    if not rates:
        return "frozen"
    later = max(row.epoch or 1 for row in rows)
    partly = " (partly frozen)" if any(row.rate is None for row in rows) else ""
    return " and ".join(rates) + partly + (f" from epoch {later}" if later > 1 else "")
