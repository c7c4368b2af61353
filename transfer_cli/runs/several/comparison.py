"""Runs of several recipes side by side: what each came to over its seeds, read from the run directories."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from transfer_cli.config.schema import Experiment
from transfer_cli.errors import EXIT_OK
from transfer_cli.files import parsed_json, write_json
from transfer_cli.methods.comparison import Contender, Recommendation, Spread, by_score, recommend, spread
from transfer_cli.rundir import completed_summary
from transfer_cli.runs.saved_model import WEIGHTS, describe, load_trained
from transfer_cli.runs.several.speed import images_per_second

COLUMNS = (
    *("row", "strategy", "completed", "failed", "metric", "val_mean", "val_deviation", "test_mean", "test_deviation"),
    *("seconds_mean", "seconds_deviation", "trainable_parameters", "parameters", "images_per_second", "model_bytes"),
    "error",
)


@dataclass(frozen=True)
class Run:
    """One training: a row on a seed, and how it ended."""

    row: str
    seed: int
    directory: str
    """Its name in the folder of the comparison."""
    seconds: float
    """By the clock, over all processes that worked on it."""
    exit_code: int | None
    """None: it has not ended yet."""
    error: str | None


class Ledger:
    """What each run of a comparison has taken and how it ended, kept in a file from process to process."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._runs = {name: Run(**values) for name, values in _read(path).items()}

    def __getitem__(self, directory: str) -> Run:
        return self._runs[directory]

    def took(self, directory: str) -> float:
        """Seconds that earlier processes worked on a run."""
        return self._runs[directory].seconds if directory in self._runs else 0.0

    def put(self, run: Run) -> None:
        """Keep it, on the disk. Raises OSError."""
        self._runs[run.directory] = run
        write_json(self._path, {name: asdict(one) for name, one in self._runs.items()})


def _read(path: Path) -> dict[str, Any]:
    """What an earlier process kept; a file of another program is as good as none: only times are lost."""
    try:
        content = parsed_json(path.read_text(encoding="utf-8"))
        return {
            str(name): {field.name: values[field.name] for field in fields(Run)} for name, values in content.items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


@dataclass(frozen=True)
class Row:
    """What a recipe came to; None where none of its runs completed."""

    row: str
    strategy: str
    completed: int
    failed: int
    val: Spread | None
    test: Spread | None
    seconds: Spread | None
    trainable_parameters: int | None
    parameters: int | None
    images_per_second: float | None
    model_bytes: int | None
    error: str | None
    val_scores: tuple[float, ...]

    def cells(self, metric: str) -> list[str | float | None]:
        """A line of the CSV, by `COLUMNS`."""
        pairs = [_pair(self.val), _pair(self.test), _pair(self.seconds)]
        facts = [self.trainable_parameters, self.parameters, self.images_per_second, self.model_bytes, self.error]
        head: list[str | float | None] = [self.row, self.strategy, self.completed, self.failed, metric]
        return [*head, *(value for pair in pairs for value in pair), *facts]


def _pair(one: Spread | None) -> tuple[float | None, float | None]:
    return (None, None) if one is None else (one.mean, one.deviation)


def row_of(
    folder: Path, name: str, strategy: str, runs: Sequence[Run], metric: str, speeds: Mapping[str, float]
) -> Row:
    """A row from those of its runs that completed; `speeds` are images a second by the name of the run directory."""
    pairs = [(run, completed_summary(folder / run.directory)) for run in runs if run.exit_code == EXIT_OK]
    done = [(run, summary) for run, summary in pairs if summary is not None]
    failed = [run for run in runs if run.exit_code not in (EXIT_OK, None)]
    scores = {
        split: tuple(score for _, summary in done if (score := (summary.get(split) or {}).get(metric)) is not None)
        for split in ("val", "test")
    }
    first, counts = (done[0][0].directory, done[0][1]["parameters"]) if done else ("", {})
    return Row(
        row=name,
        strategy=strategy,
        completed=len(done),
        failed=len(failed),
        val=spread(scores["val"]) if scores["val"] else None,
        test=spread(scores["test"]) if scores["test"] else None,
        seconds=spread([run.seconds for run, _ in done]) if done else None,
        trainable_parameters=counts.get("trainable"),
        parameters=counts.get("total"),
        images_per_second=speeds.get(first),
        model_bytes=(folder / first / WEIGHTS).stat().st_size if done else None,
        error=failed[0].error if failed else None,
        val_scores=scores["val"],
    )


def by_validation(rows: Sequence[Row], metric: str, seeds: int) -> tuple[list[Row], Recommendation | None]:
    """Rows of which every seed completed, the best mean on validation first, then the others; and what to take."""
    complete = {row.row: row for row in rows if row.completed == len(row.val_scores) == seeds}
    contenders = [
        Contender(name, row.val_scores, row.seconds.mean) for name, row in complete.items() if row.seconds is not None
    ]
    if not contenders:
        return [*rows], None
    ordered = [complete[one.name] for one in by_score(contenders, metric)]
    return [*ordered, *(row for row in rows if row.row not in complete)], recommend(contenders, metric)


def measure_speeds(
    folder: Path, directories: Sequence[str], e: Experiment, say: Callable[[str], None]
) -> dict[str, float]:
    """Images a second of the trained models in these run directories; of an architecture that repeats only once."""
    speeds: dict[str, float] = {}
    seen: dict[tuple[Any, ...], float] = {}
    for name in directories:
        about = describe(folder / name)
        network = (about.name, about.source, len(about.classes), str(about.head))
        key = (*network, about.preprocessing.crop_pixels, about.precision)
        if key not in seen:
            say(f"speed     of the trained {about.name} of {name}")
            seen[key] = images_per_second(load_trained(folder / name, e))
        speeds[name] = seen[key]
    return speeds
