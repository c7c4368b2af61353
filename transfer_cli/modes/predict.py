"""mode=predict: trained models on images, wherever these are listed; a row of path, label and probability each."""

from __future__ import annotations

import os
import sys
from collections.abc import Generator, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

from transfer_cli.cache.place import open_cache
from transfer_cli.command.overrides import Overrides
from transfer_cli.config.schema import Experiment
from transfer_cli.config.using import STREAM
from transfer_cli.errors import EXIT_OK, RunError, UserError, counted
from transfer_cli.records.terminal import Reporter
from transfer_cli.runs.prediction import inputs
from transfer_cli.runs.prediction.ensemble import Ensemble, load_ensemble
from transfer_cli.runs.prediction.inputs import Input, Item
from transfer_cli.runs.prediction.pixels import Part, joined, read_ahead
from transfer_cli.runs.prediction.rows import UNKNOWN, Row, columns, is_jsonl, row_of, writer
from transfer_cli.runs.prediction.stored import stored_parts
from transfer_cli.runs.saved_model import describe, warn_of_unread

SHOWN_ROWS = 10


@dataclass
class Tally:
    """What has been written so far, and its first rows."""

    rows: int = 0
    bad: int = 0
    first: list[Row] = field(default_factory=list)

    def add(self, rows: list[Row], bad: int) -> None:
        self.first += rows[: SHOWN_ROWS - len(self.first)]
        self.rows += len(rows)
        self.bad += bad


def run(experiment: Experiment, overrides: Overrides) -> int:
    """Predict each image, write the rows as they come, and show the first ones."""
    e = experiment
    assert e.input is not None
    streams = e.output == STREAM or (e.output is None and e.input == STREAM)
    reporter = Reporter(quiet=e.quiet, stream=sys.stderr if streams else None)
    found = inputs.find(e.input, reporter.warn, arrays=describe(Path(e.runs[0])).channels is not None)
    warn_of_unread(overrides, reporter, "dataset", "seed", "split", but="dataset.max_pixels")
    ensemble = load_ensemble(e, reporter)
    top_k = _top_k(e, ensemble, reporter)
    jsonl = is_jsonl(e.format, e.output)
    tally = Tally()
    with closing(_parts(e, found, ensemble, reporter)) as parts:
        first = _first_images(e, parts)
        target = STREAM if streams else e.output or _in_run(e, found, "jsonl" if jsonl else "csv")
        _check_no_image(target, found)
        with writer(target, columns(top_k), jsonl) as write:
            for part in chain([first], parts):
                rows = _rows(e, ensemble, part, top_k)
                write(rows)
                tally.add(rows, len(part.files) - len(rows))
    _say(e, found, tally, top_k, None if streams else target, reporter)
    if tally.bad and e.predict.strict:
        images = counted(tally.bad + tally.rows, "image")
        raise RunError(f"{tally.bad:,} of {images} could not be read; what could be is labelled.")
    return EXIT_OK


def _top_k(e: Experiment, ensemble: Ensemble, reporter: Reporter) -> int:
    known = len(ensemble.classes)
    if e.predict.top_k > known:
        reporter.warn(f"predict.top_k={e.predict.top_k}: there are {known} classes, all of which are written")
    if e.predict.threshold is not None and UNKNOWN in ensemble.classes:
        reporter.warn(f"predict.threshold: a class of the model is itself called {UNKNOWN}; its probability tells")
    return min(e.predict.top_k, known)


def _in_run(e: Experiment, found: Input, ending: str) -> str:
    """Where rows go that the command names no file for. Raises UserError where nothing can be written there."""
    folder = Path(e.runs[0]) / "predict"
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise UserError(f"{folder}: cannot be written ({error.strerror}); name a file with output.") from error
    file = folder / f"{found.stem}.{ending}"
    if file.exists() and os.path.exists(str(e.input)) and file.samefile(str(e.input)):
        raise UserError(f"input={e.input}: the results would take its place; name another file with output.")
    return str(file)


def _check_no_image(target: str, found: Input) -> None:
    """Raises UserError where rows would take the place of an image of the input."""
    if found.total is None or not os.path.exists(target):
        return
    name = os.path.basename(target)
    for picture in (picture for part in found.parts for picture in part):
        is_there = os.path.basename(picture.file) == name and os.path.exists(picture.file)
        if is_there and os.path.samefile(picture.file, target):
            raise UserError(f"output={target}: is an image of the input, which is never changed; name another file.")


def _first_images(e: Experiment, parts: Iterator[Part]) -> Part:
    """All files up to the first images. Raises UserError where there are none, before anything is written."""
    files = Part([])
    for part in parts:
        files = joined([files, part])
        if files.images:
            return files
    raise UserError(f"input={e.input}: none of {len(files.files):,} files is a readable image.")


def _parts(e: Experiment, found: Input, ensemble: Ensemble, reporter: Reporter) -> Generator[Part, None, None]:
    """The files in batches as the networks take them, with what is to be said of each."""
    with ExitStack() as stack:
        steps = None
        if found.total is not None and e.output != STREAM:
            steps = stack.enter_context(reporter.count("predicting", found.total, "images")).step
        for pictures in found.parts:
            waiting: list[Part] = []
            for part in _decoded(e, pictures, ensemble, reporter, streamed=found.total is None):
                for file in part.files:
                    if file.problem:
                        reporter.warn(f"left out: {file.problem}")
                    elif file.remark:
                        reporter.warn(f"{file.picture.file}: {file.remark}")
                waiting.append(part)
                if sum(len(one.images) for one in waiting) >= ensemble.batch_size:
                    whole, waiting = joined(waiting), []
                    yield whole
                    if steps is not None:
                        steps(len(whole.files))
            if waiting:
                yield joined(waiting)


def _decoded(
    e: Experiment, pictures: list[Item], ensemble: Ensemble, reporter: Reporter, *, streamed: bool
) -> Iterator[Part]:
    """The files in their order with their pixels: those that the cache has, where it has all of them."""
    asked = (ensemble.looks, ensemble.channels, e.dataset.max_pixels)
    if not streamed and len(pictures) > 1:
        try:
            stored = stored_parts(pictures, *asked, open_cache(e.cache_dir, e.cache_size, reporter.warn))
        except OSError as error:
            reporter.warn(f"cache: {error.filename}: {error.strerror}; all images are decoded")
            stored = None
        if stored is not None:
            return stored
    return read_ahead(pictures, *asked, e.trainer.workers)


def _rows(e: Experiment, ensemble: Ensemble, part: Part, top_k: int) -> list[Row]:
    if not part.images:
        return []
    probabilities = ensemble.probabilities(part)
    return [
        row_of(file.picture.name, values, ensemble.classes, top_k, e.predict.threshold)
        for file, values in zip(part.images, probabilities, strict=True)
    ]


def _say(e: Experiment, found: Input, tally: Tally, top_k: int, target: str | None, reporter: Reporter) -> None:
    """How many there were, the first of them, and the file."""
    left_out = tally.bad + found.left_out
    title = f"{counted(tally.rows, 'image')} predicted" + (f", {left_out} left out" if left_out else "")
    if target is None:
        reporter.say(title)
        return
    shown = [[f"{cell:.4f}" if isinstance(cell, float) else str(cell) for cell in row] for row in tally.first]
    reporter.table(title, columns(top_k), shown)
    if tally.rows > SHOWN_ROWS:
        reporter.say(f"... and {counted(tally.rows - SHOWN_ROWS, 'more row')} in the file")
    reporter.result(Path(target))
