"""`report.html` of a run, made of the files in its directory and of a few of its images; the card comes with it."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from transfer_cli.csv_files import csv_cell
from transfer_cli.data.reading.decode import DecodeError
from transfer_cli.data.sources import load as sources
from transfer_cli.errors import RunError, UserError, counted, first_line
from transfer_cli.files import atomic_write_text, unfinished
from transfer_cli.records import metrics, parameters, predictions, sheet
from transfer_cli.records.pages import pictures
from transfer_cli.records.pages.predicted import Predicted, read_predicted
from transfer_cli.records.pages.run_page import Example, RunFacts, run_page
from transfer_cli.rundir import CONFIG, DATASET, SUMMARY, claim, read_json, saved_experiment
from transfer_cli.runs.reports.explained import read_explained
from transfer_cli.runs.reports.reading import OTHER_CONTENT, PAGE, Values, place, read_rows, read_yaml
from transfer_cli.runs.reports.run_card import CARD, has_model, leave_card

if TYPE_CHECKING:
    from transfer_cli.config.schema import Dataset
    from transfer_cli.data.reading.image_set import ImageSet

SHOWN = 12
"""Mistakes, uncertain images, and images with heat."""

Images = Callable[[], "ImageSet"]
"""The images of a run, listed where they are asked for. Raises UserError or OSError where they are gone."""


def leave_report(directory: Path, images: Images, warn: Callable[[str], None]) -> None:
    """Write page and card of a run that is complete. Whatever stands in the way is a warning: the run is done."""
    try:
        write_report(directory, images)
    except Exception as error:  # the run must not fail over its page
        warn(
            f"{directory / PAGE} could not be written ({first_line(error)}); all else of the run is there. Once that "
            f"is mended, transfer-run mode=report run={directory} makes it."
        )
    leave_card(directory, warn)


def leave_whole(directory: Path, warn: Callable[[str], None]) -> None:
    """Of a run that is complete: a kill may have come after its result. What was half written goes, the rest is made.

    Nothing is touched where nothing is missing, where another process is at work, or where nothing can be written.
    """
    has_card = (directory / CARD).is_file() or not has_model(directory)
    if (directory / PAGE).is_file() and has_card and not unfinished(directory):
        return
    with contextlib.suppress(UserError, OSError), claim(directory, named=True, may_exist=True):
        if not (directory / PAGE).is_file():
            leave_report(directory, lambda: images_of(directory), warn)
        elif not has_card:
            leave_card(directory, warn)


def write_report(directory: Path, images: Images) -> list[str]:
    """Write `report.html`; returns what the page lacks, in sentences.

    Raises OSError where it cannot be written, UserError for files that hold something else than runs leave.
    """
    try:
        facts = gather(directory, images)
        page = run_page(facts)
    except OTHER_CONTENT as error:
        raise UserError(
            f"{directory}: its files hold something else than a run leaves ({first_line(error)})."
        ) from error
    atomic_write_text(directory / PAGE, page)
    return [*facts.absent]


def images_of(directory: Path, load: Callable[[Dataset, int], ImageSet] = sources.load) -> ImageSet:
    """The images of a run, found again. Raises UserError where they are gone."""
    saved = saved_experiment(directory)
    return load(saved.dataset, saved.seed)


def gather(directory: Path, images: Images) -> RunFacts:
    """All that the page shows; a file that is missing or damaged leaves its part out, and is named."""
    summary, dataset = read_json(directory / SUMMARY), read_json(directory / DATASET)
    text, config = read_yaml(directory / CONFIG)
    found = read_json(directory / "environment.json")
    strategy = str(summary.get("strategy") or (config.get("strategy") or {}).get("name"))
    absent = _missing(directory, strategy, summary, tested=(dataset.get("images") or {}).get("test") != 0)
    events: list[metrics.Event] = []
    if (directory / metrics.NAME).is_file():
        events, damaged = metrics.read(directory / metrics.NAME)
        if damaged:
            absent.append(f"{metrics.NAME}: left out of the curves: {counted(damaged, 'damaged line')}.")
    predicted = _predicted(directory, dataset, absent)
    samples = directory / "plots" / sheet.SAMPLES
    facts = RunFacts(
        place=place(directory, found),
        summary=summary,
        config=config,
        config_text=text,
        environment=found,
        dataset=dataset,
        events=events,
        parameters=[row for row in read_rows(directory / parameters.NAME)[1:] if len(row) == 5],
        predicted=predicted,
        sheet=_sheet(samples, absent) if samples.is_file() else None,
        explained=read_explained(directory, SHOWN, absent),
        absent=absent,
    )
    return facts if predicted is None else _with_examples(facts, predicted, images)


def _missing(directory: Path, strategy: str, summary: Values, *, tested: bool) -> list[str]:
    """Files that are not there, and what the page has not for their lack."""
    said = {
        SUMMARY: "no result",
        CONFIG: "no settings, and no command that repeats it",
        "environment.json": "no environment, and no command as it was given",
        DATASET: "no sizes of the splits, and nothing by class",
    }
    trained = summary.get("epochs") != 0 and summary.get("status") == "completed"
    if trained:
        said[metrics.NAME] = "no curves"
        if tested:
            said[predictions.NAME] = "nothing of the test split: no classes, confusions, calibration and images"
        if strategy != "extract":
            said[parameters.NAME] = "no groups of parameters"
    found = [f"{name} is missing: {what}." for name, what in said.items() if not (directory / name).is_file()]
    if trained and "seconds" not in summary:
        found.append("It was made before the time of each part was kept.")
    return found


def _predicted(directory: Path, dataset: Values, absent: list[str]) -> Predicted | None:
    path, classes = directory / predictions.NAME, dataset.get("classes")
    if not path.is_file() or not classes:
        return None
    try:
        found = read_predicted(path, classes)
    except (OSError, ValueError) as error:
        absent.append(f"{predictions.NAME} cannot be read ({first_line(error)}).")
        return None
    return found if len(found.paths) else None


def _sheet(path: Path, absent: list[str]) -> tuple[str, int, int] | None:
    try:
        return pictures.sheet(path)
    except OSError as error:
        absent.append(f"plots/{path.name} {first_line(error)}.")
        return None


def _with_examples(facts: RunFacts, predicted: Predicted, images: Images) -> RunFacts:
    """The facts with the images that are worth a look, as pictures where they can still be found."""
    mistakes, uncertain = predicted.mistakes(SHOWN), predicted.uncertain(SHOWN)
    rows, absent = {*mistakes, *uncertain}, [*facts.absent]
    shown: dict[int, str] = {}
    try:
        shown = _pictures(images(), predicted, rows)
        gone = len(rows) - len(shown)
        if gone:
            absent.append(f"{gone:,} of the images to be shown are gone or cannot be read.")
    except (UserError, RunError, OSError) as error:
        absent.append(f"The images were not found, so that none is shown: {first_line(error)}")

    def examples(rows: Sequence[int]) -> list[Example]:
        return [_example(predicted, row, shown.get(row)) for row in rows]

    return dataclasses.replace(facts, mistakes=examples(mistakes), uncertain=examples(uncertain), absent=absent)


def _pictures(images: ImageSet, predicted: Predicted, rows: set[int]) -> dict[int, str]:
    """Thumbnails by the row of the predictions; what cannot be read is left out."""
    wanted = {predicted.paths[row]: row for row in rows}
    places: dict[int, int] = {}
    for index in images.splits["test"].tolist():
        row = wanted.get(str(csv_cell(images.ids[index])))
        if row is not None:
            places[row] = index
    found = {}
    for row, index in sorted(places.items()):
        try:
            found[row] = pictures.thumbnail(np.asarray(images.read(index)))
        except DecodeError:
            continue
    return found


def _example(predicted: Predicted, row: int, picture: str | None) -> Example:
    label, classes = int(predicted.labels[row]), predicted.classes
    true: Any = classes[label] if label >= 0 else None
    guess = classes[int(predicted.guesses[row])]
    return Example(predicted.paths[row], true, guess, float(predicted.confidence[row]), picture)
