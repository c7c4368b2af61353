"""logger=csv: `metrics.csv` in the run directory, a row an epoch, for spreadsheets."""

from __future__ import annotations

from collections.abc import Mapping

from transfer_cli.csv_files import write_csv
from transfer_cli.records.loggers.logger import Run

NAME = "metrics.csv"


class CsvLogger:
    """Writes the whole table again at every epoch: it is small, and never half written."""

    remote = False

    def __init__(self) -> None:
        self._rows: dict[int, dict[str, float]] = {}
        self._run: Run | None = None

    def begins(self, run: Run) -> bool:
        """The table begins with what metrics.jsonl has."""
        self._run = run
        return True

    def scores(self, step: int, epoch: int, values: Mapping[str, float]) -> None:
        """Add to the row of the epoch. Raises OSError."""
        self._rows.setdefault(epoch, {"epoch": epoch, "step": step}).update(values)
        columns = [*dict.fromkeys(name for row in self._rows.values() for name in row)]
        assert self._run is not None
        rows = [[row.get(column) for column in columns] for _, row in sorted(self._rows.items())]
        write_csv(self._run.directory / NAME, columns, rows)

    def ends(self, run: Run, status: str, summary: Mapping[str, float]) -> None:
        """Nothing more: the summary has it."""
