"""mode=report: the page of a run or a folder of runs made again, or all runs listed as table, CSV or page."""

from __future__ import annotations

import functools
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from transfer_cli.command.overrides import Overrides
from transfer_cli.config.schema import Experiment
from transfer_cli.config.using import STREAM, list_format
from transfer_cli.csv_files import csv_line
from transfer_cli.errors import EXIT_OK, RunError, UserError
from transfer_cli.files import atomic_write_text
from transfer_cli.records.outlet import write_out
from transfer_cli.records.pages import list_page
from transfer_cli.records.terminal import Reporter
from transfer_cli.rundir import REPORTS
from transfer_cli.runs.reports import listing
from transfer_cli.runs.reports.listing import Record
from transfer_cli.runs.reports.reading import PAGE

_PIPE_COLUMNS = 80


def run(experiment: Experiment, overrides: Overrides) -> int:
    """Write `report.html` where `run` or `sweep` says, else list the runs under `output_dir`."""
    e = experiment
    if e.runs:
        _runs(e)
    elif e.sweep.folders:
        _folders(e, [Path(folder) for folder in e.sweep.folders])
    else:
        _list(e)
    return EXIT_OK


def _runs(e: Experiment) -> None:
    """The page and the card of each run; what one lacks is said."""
    from transfer_cli.runs.reports.run_card import leave_card
    from transfer_cli.runs.reports.run_report import images_of, write_report

    reporter = Reporter(quiet=e.quiet)
    for name in e.runs:
        directory = Path(name)
        with _written(directory / PAGE):
            absent = write_report(directory, functools.partial(images_of, directory))
        for sentence in absent:
            reporter.warn(f"{directory}: {sentence}")
        leave_card(directory, reporter.warn)
        reporter.result(directory / PAGE)


def _folders(e: Experiment, folders: Sequence[Path]) -> None:
    """The report on a folder of runs, or on several sweeps together."""
    from transfer_cli.sweeps.reports import of_one, of_several

    reporter = Reporter(quiet=e.quiet)
    with _written(Path(e.output_dir) / REPORTS if len(folders) > 1 else folders[0]):
        page = of_one(e, folders[0], reporter) if len(folders) == 1 else of_several(e, folders, reporter)
    reporter.result(page)


def _list(e: Experiment) -> None:
    """Runs by condition, in order."""
    root = Path(e.output_dir)
    if not root.is_dir():
        raise UserError(f"output_dir={root}: no such folder; run this where your runs are, or name their folder.")
    wanted = listing.conditions(e.report.where)
    key, largest_first = listing.sort_key(e.report.sort)
    options = {key: f"report.sort={e.report.sort}"} if e.report.sort else {}
    options |= {one.key: "report.where" for one in wanted}
    records = [listing.record_of(path) for path in listing.find_runs(root)]
    every = listing.with_settings(records, options)
    found = listing.ordered(listing.chosen(every, wanted), key, largest_first)
    counts = f"{len(found):,} of {len(every):,} runs" if wanted else f"{len(found):,} run{'s' * (len(found) != 1)}"
    title = f"{counts} in {root}"
    {"table": _as_table, "csv": _as_csv, "page": _as_page}[list_format(e)](e, found, [*options], title)


def _as_table(e: Experiment, found: Sequence[Record], asked: Sequence[str], title: str) -> None:
    """Lines that fit the terminal, or 80 columns where there is none; with `quiet` the directories alone."""
    if e.quiet:
        write_out("".join(f"{record['run']}\n" for record in found))
        return
    width = shutil.get_terminal_size((_PIPE_COLUMNS, 24)).columns
    Reporter(quiet=False).say(list_page.text(found, asked, title, e.output_dir, width))


def _as_csv(e: Experiment, found: Sequence[Record], asked: Sequence[str], title: str) -> None:
    columns = list_page.columns_of(found, listing.FIRST, asked)
    text = csv_line(columns) + "".join(csv_line([record.get(column) for column in columns]) for record in found)
    if e.output in (None, STREAM):
        write_out(text)
    else:
        _write(e, Path(str(e.output)), text)


def _as_page(e: Experiment, found: Sequence[Record], asked: Sequence[str], title: str) -> None:
    path = Path(e.output_dir) / PAGE if e.output is None else Path(e.output)
    pages = {
        str(record["run"]): os.path.relpath(Path(record["run"]) / PAGE, path.parent)
        for record in found
        if (Path(record["run"]) / PAGE).is_file()
    }
    note = f"report.where={e.report.where}" if e.report.where else "All runs."
    _write(e, path, list_page.list_page(found, asked, title, note, pages))


def _write(e: Experiment, path: Path, text: str) -> None:
    with _written(path):
        atomic_write_text(path, text)
    Reporter(quiet=e.quiet, stream=sys.stdout).result(path)


@contextmanager
def _written(path: Path) -> Iterator[None]:
    """Raises RunError where the file cannot be written."""
    try:
        yield
    except OSError as error:
        raise RunError(f"{path} cannot be written ({error.strerror or error}).") from error
