"""mode=predict: a trained model on a file or a folder of images; a CSV of path, label and probability."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import torch

from transfer_cli.command.overrides import Overrides
from transfer_cli.config.schema import Experiment
from transfer_cli.data.batches import Batch
from transfer_cli.data.reading.bands.open import open_picture
from transfer_cli.data.reading.decode import DecodeError
from transfer_cli.data.reading.listing import few
from transfer_cli.data.sources.folder import pictures_below
from transfer_cli.engine.evaluation import BATCH_SIZE, predict
from transfer_cli.engine.stop import Stop
from transfer_cli.errors import EXIT_OK, UserError
from transfer_cli.files import write_csv
from transfer_cli.methods.scores import softmax
from transfer_cli.records.terminal import Reporter
from transfer_cli.runs.saved_model import Trained, describe, load_trained, warn_of_unread

SHOWN_ROWS = 10
LISTED_FILES = 50


class Images:
    """Batches of the readable images among `files`; what cannot be read is warned of and left out."""

    def __init__(
        self,
        files: list[Path],
        trained: Trained,
        max_pixels: int | None,
        reporter: Reporter,
    ) -> None:
        self.files, self.preprocessing, self.reporter = files, trained.preprocessing, reporter
        self.batch_size = BATCH_SIZE[trained.compute.device.type]
        self.max_pixels, self.channels = max_pixels, trained.channels
        self.read: list[Path] = []

    def __iter__(self) -> Iterator[Batch]:
        pixels: list[torch.Tensor] = []
        for file in self.files:
            try:
                remark = partial(self._remark, file)
                image = open_picture(file, channels=self.channels, max_pixels=self.max_pixels, remark=remark)
                pixels.append(self.preprocessing.apply(image))
            except DecodeError as error:
                self.reporter.warn(f"left out: {error}")
                continue
            self.read.append(file)
            if len(pixels) == self.batch_size:
                yield _batch(pixels)
                pixels = []
        if pixels:
            yield _batch(pixels)

    def _remark(self, file: Path, text: str) -> None:
        self.reporter.warn(f"{file}: {text}")


def run(experiment: Experiment, overrides: Overrides) -> int:
    """Predict each image, write the CSV and show its first rows."""
    assert experiment.run is not None and experiment.input is not None
    reporter = Reporter(quiet=experiment.quiet)
    source, directory = Path(experiment.input), Path(experiment.run)
    arrays = describe(directory).channels is not None
    files, others = pictures_below(source, arrays) if source.is_dir() else ([source], {})
    if not files:
        seen = "; ".join(_listed(kind, names) for kind, names in others.items())
        raise UserError(f"input={source}: no image files in this folder" + (f" ({seen})." if seen else "."))
    for kind, names in others.items():
        reporter.warn(f"left out: {_listed(kind, names)}")
    warn_of_unread(overrides, reporter, "dataset", "seed", "split", but="dataset.max_pixels")
    trained = load_trained(directory, experiment)
    images = Images(files, trained, experiment.dataset.max_pixels, reporter)
    # Nothing readable must be found before the network sees an empty list.
    batches = iter(images)
    first = next(batches, None)
    if first is None:
        raise UserError(f"input={source}: none of {len(files)} files is a readable image.")
    result = predict(trained.network, _chain(first, batches), trained.compute, trained.to_device, Stop())
    assert result is not None
    probabilities = softmax(result[0])
    best = probabilities.argmax(1)
    rows = [
        (str(file), trained.classes[label], float(probabilities[row, label]))
        for row, (file, label) in enumerate(zip(images.read, best, strict=True))
    ]
    target = Path(experiment.output) if experiment.output else directory / "predict" / f"{source.resolve().stem}.csv"
    _write_csv(target, rows)
    shown = [[path, label, f"{probability:.4f}"] for path, label, probability in rows[:SHOWN_ROWS]]
    left_out = len(files) - len(rows) + sum(map(len, others.values()))
    title = f"{len(rows):,} images predicted" + (f", {left_out} left out" if left_out else "")
    reporter.table(title, ["path", "label", "probability"], shown)
    if len(rows) > SHOWN_ROWS:
        reporter.say(f"... and {len(rows) - SHOWN_ROWS:,} more rows in the file")
    reporter.result(target)
    return EXIT_OK


def _listed(kind: str, names: list[str]) -> str:
    """How many things of a kind there are, and which."""
    return f"{len(names):,} ({kind}): {few(names, LISTED_FILES)}"


def _chain(first: Batch, rest: Iterator[Batch]) -> Iterator[Batch]:
    yield first
    yield from rest


def _batch(pixels: list[torch.Tensor]) -> Batch:
    unknown = torch.full((len(pixels),), -1, dtype=torch.int64)
    return Batch(torch.stack(pixels), unknown, unknown)


def _write_csv(target: Path, rows: list[tuple[str, str, float]]) -> None:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        write_csv(target, ("path", "label", "probability"), rows)
    except OSError as error:
        raise UserError(f"output={target}: cannot be written ({error.strerror}).") from error
