"""mode=explain: where in images a trained model saw what it says, as pictures: chosen images, or its worst mistakes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from transfer_cli.command.overrides import Overrides
from transfer_cli.config.schema import Experiment
from transfer_cli.data.reading.bands.open import open_picture
from transfer_cli.data.reading.decode import DecodeError
from transfer_cli.errors import EXIT_OK, UserError, unknown
from transfer_cli.files import atomic_write_bytes, atomic_write_text, csv_cell
from transfer_cli.records.pages.explain_page import Shown, explain_page
from transfer_cli.records.pages.pictures import sheet
from transfer_cli.records.pages.predicted import read_predicted
from transfer_cli.records.predictions import NAME
from transfer_cli.records.terminal import Reporter
from transfer_cli.runs.explaining.heat import explain
from transfer_cli.runs.explaining.pictures import png
from transfer_cli.runs.prediction import inputs
from transfer_cli.runs.reports.run_report import images_of
from transfer_cli.runs.saved_model import Trained, load_trained, warn_of_unread

FOLDER = "explanations"

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
    warn_of_unread(overrides, reporter, "dataset", "split")
    source = experiment.input
    found = _mistakes(directory, trained) if source is None else _chosen(source, trained, reporter)
    shown, rows = [], []
    for number, (name, own, pixels) in zip(range(experiment.explain.images), found, strict=False):
        one = explain(trained, pixels, label)
        file = directory / FOLDER / f"{number:03d}.png"
        file.parent.mkdir(exist_ok=True)
        atomic_write_bytes(file, png(one.over(pixels)))
        rows.append([f"{FOLDER}/{file.name}", name, own or "", one.predicted, f"{100 * one.probability:.2f} %"])
        shown.append(Shown(name, own, sheet(file)[0], one.predicted, one.probability))
    if not shown:
        reason = f"run={directory}: it made no mistake on its test split; name images with input."
        raise UserError(reason if source is None else f"input={source}: no file is a readable image.")
    page = explain_page(directory.name, trained.about.name, shown)
    atomic_write_text(directory / FOLDER / "index.html", page)
    reporter.table("where the model looked", ["picture", "image", "is", "class shown", "probability"], rows)
    reporter.result(directory / FOLDER)
    return EXIT_OK


def _chosen(source: str, trained: Trained, reporter: Reporter) -> Iterator[Picture]:
    found = inputs.find(source, reporter.warn, arrays=False)
    for part in found.parts:
        for item in part:
            try:
                picture = open_picture(item.file, channels=None)
            except DecodeError as error:
                reporter.warn(str(error))
                continue
            yield item.name, None, trained.about.preprocessing.pixels(picture)


def _mistakes(directory: Path, trained: Trained) -> Iterator[Picture]:
    """Of the test split, the most confident first. Raises UserError where there is nothing to look up."""
    try:
        predicted = read_predicted(directory / NAME, trained.about.classes)
    except (OSError, ValueError) as error:
        raise UserError(f"{directory / NAME} cannot be read ({error}); name images with input=<folder>.") from error
    images = images_of(directory)
    places = {str(csv_cell(images.ids[index])): int(index) for index in images.splits["test"]}
    for row in predicted.mistakes(len(predicted.paths)):
        path = predicted.paths[row]
        if path in places:
            picture = images.read(places[path])
            yield path, predicted.classes[predicted.labels[row]], trained.about.preprocessing.pixels(picture)
