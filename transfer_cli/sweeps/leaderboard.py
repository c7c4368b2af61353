"""The leaderboard of a sweep: a row for each job, made from what the jobs left on disk, best first."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from transfer_cli.files import write_csv
from transfer_cli.records.terminal import Reporter

METRICS = ("accuracy", "top5_accuracy", "macro_f1", "loss", "ece")
COLUMNS = [
    "overrides",
    "status",
    *(f"{split}_{metric}" for split in ("val", "test") for metric in METRICS),
    "seconds",
    "run_directory",
    "error",
]

Row = dict[str, Any]


def write(folder: Path) -> list[Row]:
    """Write `leaderboard.csv` of a sweep folder; returns its rows."""
    jobs = [path for path in folder.iterdir() if path.is_dir() and path.name.isdigit()]
    rows = sorted((_row(path) for path in sorted(jobs, key=lambda path: int(path.name))), key=_rank)
    write_csv(folder / "leaderboard.csv", COLUMNS, [[row[column] for column in COLUMNS] for row in rows])
    return rows


def show(rows: list[Row], reporter: Reporter) -> None:
    """The leaderboard as a table: the overrides that differ, status, accuracies and seconds."""
    shared = set.intersection(*(set(row["overrides"].split(" ")) for row in rows)) if len(rows) > 1 else set()
    cells = [
        [
            " ".join(word for word in row["overrides"].split(" ") if word not in shared),
            row["status"],
            _percent(row["val_accuracy"]),
            _percent(row["test_accuracy"]),
            f"{row['seconds']:.1f}" if row["seconds"] is not None else "",
            Path(row["run_directory"]).name,
        ]
        for row in rows
    ]
    reporter.table("leaderboard", ["overrides", "status", "val", "test", "seconds", "job"], cells)


def _row(job: Path) -> Row:
    ended, summary = read(job / "job.json"), read(job / "summary.json")
    row: Row = {
        "overrides": " ".join(ended.get("overrides", [])),
        "status": _status(ended, summary),
        "seconds": ended.get("seconds"),
        "run_directory": str(job),
        "error": ended.get("error") or summary.get("error"),
    }
    for split in ("val", "test"):
        for metric in METRICS:
            row[f"{split}_{metric}"] = (summary.get(split) or {}).get(metric)
    return row


def _status(ended: dict[str, Any], summary: dict[str, Any]) -> str:
    if ended.get("exit_code"):
        return "failed"
    return str(summary.get("status", "unfinished"))


def _rank(row: Row) -> tuple[bool, float, float]:
    """Completed jobs first, by validation accuracy, then by validation loss."""
    accuracy, loss = row["val_accuracy"], row["val_loss"]
    return row["status"] != "completed", -(accuracy if accuracy is not None else -1), loss if loss is not None else 0.0


def _percent(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.2f} %"


def read(path: Path) -> dict[str, Any]:
    """A JSON object of a job; empty where there is none."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
