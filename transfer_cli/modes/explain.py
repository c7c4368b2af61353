"""mode=explain: where in images a trained model saw what it says: chosen ones, or its mistakes and what it doubted."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from transfer_cli.command.overrides import Overrides
from transfer_cli.config.schema import Experiment
from transfer_cli.csv_files import csv_cell
from transfer_cli.data.reading.bands.open import open_picture
from transfer_cli.data.reading.decode import DecodeError
from transfer_cli.errors import EXIT_OK, UserError, unknown
from transfer_cli.files import atomic_write_text
from transfer_cli.records.pages.explain_page import explain_page
from transfer_cli.records.pages.predicted import read_predicted
from transfer_cli.records.predictions import NAME
from transfer_cli.records.terminal import Reporter
from transfer_cli.rundir import name_of
from transfer_cli.runs.explaining.heat import explain
from transfer_cli.runs.explaining.pictures import png
from transfer_cli.runs.prediction import inputs
from transfer_cli.runs.reports.explained import Explanations
from transfer_cli.runs.reports.run_report import images_of, leave_report
from transfer_cli.runs.saved_model import Trained, load_trained, warn_of_unread

Picture = tuple[str, str | None, NDArray[np.uint8]]
"""What to call it, its class where it is known, and its pixels as the model takes them."""


def run(experiment: Experiment, overrides: Overrides) -> int:
    """Write a picture of each image and a page of all into the run directory."""
    directory, reporter = Path(str(experiment.run)), Reporter(quiet=experiment.quiet)
    trained = load_trained(directory, experiment)
    if trained.about.preprocessing.channels != 3:
        raise UserError(f"run={directory}: takes images that are not RGB, on which no heat can be shown.")
    label = experiment.explain.label
    if label is not None and label not in trained.about.classes:
        raise unknown("explain.label", label, trained.about.classes)
    warn_of_unread(overrides, reporter, "dataset", "seed", "split", but="dataset.max_pixels")
    source = experiment.input
    found = _telling(directory, trained, reporter) if source is None else _chosen(experiment, trained, reporter)
    kept, rows = Explanations(directory), []
    for name, own, pixels in islice(found, experiment.explain.images):
        one = explain(trained, pixels, label)
        file = kept.add(png(one.over(pixels)), name, own, one.predicted, one.probability)
        rows.append([file, name, own or "", one.predicted, f"{100 * one.probability:.2f} %"])
    if not rows:
        what = f"run={directory}: none of its test images" if source is None else f"input={source}: none"
        raise UserError(f"{what} is an image that can be read.")
    kept.close()
    page = explain_page(name_of(directory), trained.about.name, kept.shown)
    atomic_write_text(kept.folder / "index.html", page)
    leave_report(directory, lambda: images_of(directory), reporter.warn)
    reporter.table("where the model looked", ["picture", "image", "is", "class shown", "probability"], rows)
    reporter.result(kept.folder)
    return EXIT_OK


def _chosen(e: Experiment, trained: Trained, reporter: Reporter) -> Iterator[Picture]:
    channels = trained.about.channels
    found = inputs.find(str(e.input), reporter.warn, arrays=channels is not None)
    for part in found.parts:
        for item in part:
            try:
                picture = open_picture(item.file, channels=channels, max_pixels=e.dataset.max_pixels)
            except DecodeError as error:
                reporter.warn(f"left out: {error}")
                continue
            yield item.name, None, trained.about.preprocessing.pixels(picture)


def _telling(directory: Path, trained: Trained, reporter: Reporter) -> Iterator[Picture]:
    """Of the test split, mistakes first, the most confident ahead, then what it was least sure of.

    Raises UserError where there is nothing to look up.
    """
    try:
        predicted = read_predicted(directory / NAME, trained.about.classes)
    except (OSError, ValueError) as error:
        raise UserError(f"{directory / NAME} cannot be read ({error}); name images with input=<folder>.") from error
    images = images_of(directory)
    places = {str(csv_cell(images.ids[index])): int(index) for index in images.splits["test"]}
    count = len(predicted.paths)
    if not count:
        raise UserError(f"run={directory}: its test split has no images; name images with input=<folder>.")
    for row in dict.fromkeys([*predicted.mistakes(count), *predicted.uncertain(count)]):
        path = predicted.paths[row]
        if path not in places:
            reporter.warn(f"left out: {path} is no image of the test split any more")
            continue
        try:
            picture = images.read(places[path])
        except DecodeError as error:
            reporter.warn(f"left out: {error}")
            continue
        label = int(predicted.labels[row])
        yield path, predicted.classes[label] if label >= 0 else None, trained.about.preprocessing.pixels(picture)
