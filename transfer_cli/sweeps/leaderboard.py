"""The leaderboard of a sweep: a row for each job with the scores of its summary, best first, and its configurations."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from time import monotonic
from typing import Any

from transfer_cli.command.overrides import words_in
from transfer_cli.csv_files import write_csv
from transfer_cli.methods.comparison import shown_score
from transfer_cli.records.terminal import Reporter
from transfer_cli.rundir import SUMMARY, read_json
from transfer_cli.runs.reports.front_report import LEADERBOARD, leaderboard_rows
from transfer_cli.runs.reports.pareto import Front, front_of
from transfer_cli.runs.reports.reading import number_in
from transfer_cli.sweeps import configurations
from transfer_cli.sweeps.configurations import NO_WORDS
from transfer_cli.sweeps.jobs import of_one
from transfer_cli.sweeps.ledger import ENDED, FILE, WAITING, ended_words, status, words_by_name
from transfer_cli.sweeps.sharing import writing

SPLITS = ("val", "test")
BEFORE_SCORES = ["overrides", "status"]
AFTER_SCORES = ["seconds", "run_directory", "error"]

Row = dict[str, Any]

_SHARE_OF_TIME = 0.05
_not_before: dict[Path, float] = {}
"""When the leaderboard of a folder may be written again while its jobs run."""


def write(folder: Path, objectives: Sequence[str] = ()) -> list[Row]:
    """Write `leaderboard.csv` and `leaderboard.md` of a sweep folder; returns the rows of its jobs.

    And where several objectives are given, or were before, `pareto.json`.
    """
    with writing(folder):
        rows = _rows(folder)
        front = front_of(folder, rows, objectives)
        _write(folder, rows, front)
        if front:
            front.write(folder)
    return rows


def together(folders: Sequence[Path], target: Path) -> list[Row]:
    """Write the leaderboard of the jobs of several sweeps into `target`; returns their rows. Raises OSError."""
    rows = sorted((row for folder in folders for row in _rows(folder)), key=rank_of)
    target.mkdir(parents=True, exist_ok=True)
    _write(target, rows, None)
    return rows


def _write(folder: Path, rows: Sequence[Row], front: Front | None) -> None:
    columns = [*BEFORE_SCORES, *_scores(rows), *AFTER_SCORES]
    write_csv(folder / LEADERBOARD, columns, [[row.get(column) for column in columns] for row in rows])
    configurations.write(folder, configurations.configurations(rows), front)


def keep_up(folder: Path, objectives: Sequence[str] = ()) -> None:
    """`write` after one of many jobs, left out where it would take over a twentieth of the time: it reads all jobs."""
    began = monotonic()
    if began < _not_before.get(folder, began):
        return
    write(folder, objectives)
    _not_before[folder] = monotonic() + (monotonic() - began) / _SHARE_OF_TIME


def has_jobs(folder: Path) -> bool:
    """Whether a folder is that of a sweep, by what says so of its jobs; with a leaderboard alone it is not."""
    return (folder / FILE).is_file() or any(folder.glob(f"*/{ENDED}"))


def gone(folder: Path) -> list[str]:
    """Jobs of which the leaderboard of a folder is all that is left, so that made again it would lose them.

    Raises OSError; KeyError, ValueError for another file.
    """
    if not (folder / LEADERBOARD).is_file():
        return []
    in_ledger = words_by_name(folder)
    begun = [Path(line["run_directory"]).name for line in leaderboard_rows(folder) if line["status"] != WAITING]
    known = {name for name in begun if name in in_ledger or (folder / name / ENDED).is_file()}
    return [name for name in begun if name not in known or not (folder / name).is_dir()]


def _rows(folder: Path) -> list[Row]:
    return sorted((row(folder / name, words) for name, words in _words_of_jobs(folder).items()), key=rank_of)


def _words_of_jobs(folder: Path) -> dict[str, tuple[str, ...]]:
    """Of all jobs in the ledger, and those of an earlier version or of a ledger that is gone."""
    jobs = words_by_name(folder)
    for path in sorted(folder.iterdir(), key=lambda path: (len(path.name), path.name)):
        if path.is_dir() and (path.name.isdigit() or (path / ENDED).is_file()):
            jobs.setdefault(path.name, ended_words(path))
    return jobs


def show(rows: list[Row], reporter: Reporter, front: Front | None = None) -> None:
    """As a table each job, its status, metric and seconds; over several seeds the overrides that differ, and means.

    With a front its objectives stand beside, and which are on it.
    """
    shared = set.intersection(*(set(words_in(row["overrides"])) for row in rows)) if len(rows) > 1 else set()
    found = configurations.configurations(rows)
    metric = found[0].metric if found else ""
    if len(found) < len(rows):
        several = [[_differing(one.overrides, shared) or NO_WORDS, *one.cells(metric, front)[1:]] for one in found]
        reporter.table("leaderboard over seeds and folds", configurations.columns(metric, front), several)
        return
    cells = [
        [
            Path(row["run_directory"]).name,
            row["status"],
            *(shown_score(row.get(f"{split}_{row['metric']}"), row["metric"]) for split in SPLITS),
            *(front.cells(row["overrides"], metric) if front else []),
            f"{row['seconds']:.1f}" if row["seconds"] is not None else "",
        ]
        for row in rows
    ]
    weighed = front.headings(metric) if front else []
    reporter.table("leaderboard", ["job", "status", "val", "test", *weighed, "seconds"], cells)


def _differing(overrides: str, shared: set[str]) -> str:
    return " ".join(word for word in words_in(overrides) if word not in shared)


def row(job: Path, words: Sequence[str]) -> Row:
    """Of a job: its words, how it stands, and the scores of its summary."""
    ended, summary = read_json(job / ENDED), read_json(job / SUMMARY)
    metric = summary.get("metric")
    found: Row = {
        "overrides": " ".join(of_one(words)),
        "status": status(job),
        "metric": metric if isinstance(metric, str) and metric else "accuracy",
        "seconds": number_in(ended, "seconds"),
        "run_directory": str(job),
        "error": _text(ended.get("error")) or _text(summary.get("error")),
    }
    for split in SPLITS:
        scores = summary.get(split)
        found |= {f"{split}_{name}": number_in(scores, name) for name in (scores if isinstance(scores, dict) else {})}
    return found


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _scores(rows: Sequence[Row]) -> list[str]:
    """The scores that any summary holds, in the order of the summaries, validation first."""
    names = dict.fromkeys(name for row in rows for name in row)
    return [name for split in SPLITS for name in names if name.startswith(f"{split}_")]


def rank_of(row: Row) -> tuple[bool, float, float]:
    """The order of the rows: completed jobs first, then by the metric of each on validation, then by its loss."""
    from transfer_cli.methods.scores import WORST, rank

    metric = row["metric"]
    scored = row.get(f"val_{metric}") is not None and row.get("val_loss") is not None
    value, loss = rank({metric: row[f"val_{metric}"], "loss": row["val_loss"]}, metric) if scored else WORST
    return row["status"] != "completed", -value, -loss
