"""mode=compare: several recipes on the same images, sizes and seeds; a table, a picture and a recommendation.

Each run is an ordinary one in a folder of its own, so that what is frozen is shared through the cache, and a killed
comparison goes on where it stood.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from transfer_cli import rundir
from transfer_cli.command.overrides import Overrides
from transfer_cli.command.recipes import Recipe, under_recipes
from transfer_cli.command.source import ConfigSource
from transfer_cli.config.distill import Distill
from transfer_cli.config.parse import differences, parse, to_dict
from transfer_cli.config.schema import Experiment
from transfer_cli.csv_files import write_csv
from transfer_cli.data.same_images import check_listed
from transfer_cli.engine.stop import ends_if_asked
from transfer_cli.errors import EXIT_FAILED, EXIT_OK, Stopped, UserError
from transfer_cli.files import write_json
from transfer_cli.methods.comparison import Recommendation, shown
from transfer_cli.preflight import preflight
from transfer_cli.records import plots
from transfer_cli.records.terminal import Reporter
from transfer_cli.records.text import in_words
from transfer_cli.runs.options import check_options
from transfer_cli.runs.reports.group_report import leave_group_report
from transfer_cli.runs.reports.run_report import leave_whole
from transfer_cli.runs.several.attempt import attempt
from transfer_cli.runs.several.comparison import COLUMNS, Ledger, Row, Run, by_validation, measure_speeds, row_of
from transfer_cli.runs.several.shared_input import check_shared_input
from transfer_cli.runs.train import train

FOLDER, RESULT, LEDGER, DISTILL = "compare", "compare.json", "runs.json", "distill"


@dataclass(frozen=True)
class Planned:
    """One run that the command asks for."""

    row: str
    experiment: Experiment

    @property
    def directory(self) -> str:
        """Its name in the folder of the comparison."""
        return f"{self.row}-seed{self.experiment.seed}"


def run(experiment: Experiment, overrides: Overrides, source: ConfigSource) -> int:
    """Train every row on every seed; writes `compare.json`, `compare.csv` and `plots/compare.png`."""
    e, reporter = experiment, Reporter(quiet=experiment.quiet)
    recipes = _recipes(e, overrides, source)
    folder = _folder(e)
    planned = _planned(e, recipes, folder)
    for word, names in _unread(recipes).items():
        reporter.warn(f"{word}: not for {', '.join(names)}")
    if not folder.exists():
        for model in dict.fromkeys(one.experiment.model for one in planned):
            check_shared_input(replace(e, model=model), reporter)
    with rundir.claim(folder, named=e.name is not None, may_exist=e.resume == "auto") as folder:
        reporter.open_log(folder / "run.log")
        runs = _train_all(e, planned, folder, reporter)
        rows, recommended = _result(e, planned, runs, folder, reporter)
        leave_group_report(folder, reporter.warn)
    _show(rows, recommended, e, reporter)
    reporter.result(folder)
    return EXIT_OK if all(one.exit_code == EXIT_OK for one in runs) else EXIT_FAILED


def _recipes(e: Experiment, overrides: Overrides, source: ConfigSource) -> list[Recipe]:
    """The rows, that of the teacher's student among them where the command names a teacher."""
    names = [name for name in e.compare.rows if name != DISTILL]
    recipes = under_recipes(source, overrides, e.strategy.name, names, "compare.rows")
    if isinstance(e.strategy, Distill):
        recipes.append(Recipe(DISTILL, to_dict(e), ()))
    return recipes


def _planned(e: Experiment, recipes: Sequence[Recipe], folder: Path) -> list[Planned]:
    """Every run, seed by seed, so that all rows are there early. Raises UserError with all that is wrong."""
    planned, problems = [], []
    own = {"mode": "train", "run": None, "name": folder.name, "resume": "auto"}
    for seed in range(e.seed, e.seed + e.compare.seeds):
        for recipe in recipes:
            try:
                one = parse({**recipe.values, **own, "seed": seed})
                preflight(one, in_sweep=True)
                check_options(one)
                planned.append(Planned(recipe.name, one))
            except UserError as error:
                problems += [f"compare.rows: {recipe.name}: {line}" for line in str(error).splitlines()]
    if problems:
        raise UserError("\n".join(dict.fromkeys(problems)))
    _check_same(planned, folder)
    return planned


def _unread(recipes: Sequence[Recipe]) -> dict[str, list[str]]:
    """Words of the command by the rows that do not follow them."""
    rows: dict[str, list[str]] = {}
    for recipe in recipes:
        for word in recipe.unread:
            rows.setdefault(word, []).append(recipe.name)
    return rows


def _folder(e: Experiment) -> Path:
    """Where the comparison goes."""
    folder = Path(e.output_dir) / FOLDER / (e.name or rundir.stamped(e.model.name, e.dataset.name))
    if e.name and e.resume == "never" and folder.exists():
        raise UserError(f"name={e.name}: {folder} exists. Choose another name, or continue it with resume=auto.")
    rundir.check_writable(folder.parent)
    return folder


def _check_same(planned: Sequence[Planned], folder: Path) -> None:
    """Raises UserError where an earlier comparison of this name was another one."""
    for one in planned:
        path = folder / one.directory
        if not (path / rundir.CONFIG).is_file():
            continue
        found = differences(one.experiment, rundir.saved_experiment(path))
        if found:
            raise UserError(
                f"resume=auto: {path} was made with other settings: {'; '.join(found[:3])}. Use the same settings to "
                "go on with it, or another name."
            )
    check_listed(*((folder / one.directory, one.experiment) for one in planned))


def _train_all(e: Experiment, planned: Sequence[Planned], folder: Path, reporter: Reporter) -> list[Run]:
    """Every run that is not complete. After each, what is done so far is in the table on the disk."""
    ledger = Ledger(folder / LEDGER)
    runs: list[Run] = []
    for number, one in enumerate(planned, 1):
        reporter.say(f"-- {one.directory} ({number} of {len(planned)})")
        with ends_if_asked(f"after {one.directory}; {_goes_on(folder)}"):
            _train(one, folder, ledger, reporter)
            runs.append(ledger[one.directory])
            rows, _ = by_validation(_rows(e, planned, runs, folder, {}), e.trainer.metric, e.compare.seeds)
            _write(rows, None, runs, e, folder)
    return runs


def _goes_on(folder: Path) -> str:
    return f"complete runs and saved states are kept: go on with name={folder.name} resume=auto"


def _train(one: Planned, folder: Path, ledger: Ledger, reporter: Reporter) -> None:
    """One run, from where it stands; the ledger says how it ended, also where a signal ends all of them."""
    path, e = folder / one.directory, one.experiment
    before, started = ledger.took(one.directory), time.perf_counter()
    code, error, done = None, None, rundir.completed_summary(path) is not None
    try:
        if done:
            code = EXIT_OK
            reporter.say("complete already")
            leave_whole(path, reporter.warn)
        else:
            own = Reporter(quiet=e.quiet, prints_result=False)
            code, error = attempt(lambda: train(e, path, own, may_exist=True))
    except Stopped as stopped:
        raise Stopped(stopped.code, f"in {one.directory}; {_goes_on(folder)}") from None
    finally:
        seconds = before if done else before + time.perf_counter() - started
        # What a process was at when it was killed is in no ledger, but in the states that it saved.
        seconds = max(seconds, (rundir.completed_summary(path) or {}).get("train_seconds") or 0.0)
        ledger.put(Run(one.row, e.seed, one.directory, seconds, code, error))


def _rows(
    e: Experiment, planned: Sequence[Planned], runs: Sequence[Run], folder: Path, speeds: Mapping[str, float]
) -> list[Row]:
    strategies = {one.row: one.experiment.strategy.name for one in planned}
    return [
        row_of(folder, name, strategy, [run for run in runs if run.row == name], e.trainer.metric, speeds)
        for name, strategy in strategies.items()
    ]


def _result(
    e: Experiment, planned: Sequence[Planned], runs: Sequence[Run], folder: Path, reporter: Reporter
) -> tuple[list[Row], Recommendation | None]:
    """The finished table, with the speed of each trained model, on the disk and as a picture."""
    firsts: dict[str, str] = {}
    for one in runs:
        if one.exit_code == EXIT_OK:
            firsts.setdefault(one.row, one.directory)
    speeds = measure_speeds(folder, [*firsts.values()], e, reporter.say)
    rows, recommended = by_validation(_rows(e, planned, runs, folder, speeds), e.trainer.metric, e.compare.seeds)
    _write(rows, recommended, runs, e, folder)
    points = [
        plots.Point(row.row, row.seconds.mean, row.val.mean, row.val.deviation, row.test.mean if row.test else None)
        for row in rows
        if row.val is not None and row.seconds is not None
    ]
    if points:
        (folder / "plots").mkdir(exist_ok=True)
        plots.comparison(points, e.trainer.metric, folder / "plots" / "compare.png")
    return rows, recommended


def _write(
    rows: Sequence[Row], recommended: Recommendation | None, runs: Sequence[Run], e: Experiment, folder: Path
) -> None:
    result = {
        "dataset": e.dataset.name,
        "model": e.model.name,
        "metric": e.trainer.metric,
        "seeds": [*range(e.seed, e.seed + e.compare.seeds)],
        "recommendation": None if recommended is None else asdict(recommended),
        "rows": [asdict(row) for row in rows],
        "runs": [asdict(run) for run in runs],
    }
    write_json(folder / RESULT, result)
    write_csv(folder / "compare.csv", COLUMNS, [row.cells(e.trainer.metric) for row in rows])


def _show(rows: Sequence[Row], recommended: Recommendation | None, e: Experiment, reporter: Reporter) -> None:
    metric = e.trainer.metric
    columns = ["row", f"val {metric}", f"test {metric}", "seconds", "trainable", "images/s", "size"]
    cells = []
    for row in rows:
        if row.val is None or row.seconds is None:
            cells.append([row.row, "failed" if row.failed else "", *[""] * (len(columns) - 2)])
            continue
        seconds = f"{row.seconds.mean:.1f}" + (f" ± {row.seconds.deviation:.1f}" if row.seconds.deviation else "")
        speed = "" if row.images_per_second is None else f"{row.images_per_second:,.0f}"
        scores = [shown(row.val, metric), "" if row.test is None else shown(row.test, metric)]
        size = [f"{row.trainable_parameters:,}", speed, in_words(row.model_bytes or 0)]
        cells.append([row.row, *scores, seconds, *size])
    seeds = f"{e.compare.seeds} seeds, mean ± deviation" if e.compare.seeds > 1 else "one seed"
    reporter.table(f"{e.model.name} on {e.dataset.name}, by validation: {seeds}", columns, cells)
    for row in rows:
        if row.failed:
            reporter.warn(f"{row.row}: {row.failed} of {e.compare.seeds} runs failed: {row.error}")
    if recommended is not None:
        reporter.say(recommended.reason)
