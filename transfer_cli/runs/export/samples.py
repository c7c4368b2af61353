"""Images to compare an export on: real ones, and made-up ones only where there are none.

Legend: N images, C channels, S pixels of a side.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from transfer_cli.config.schema import Experiment
from transfer_cli.data.reading.bands.open import open_picture
from transfer_cli.data.reading.decode import DecodeError
from transfer_cli.data.reading.image_set import ImageSet
from transfer_cli.data.sources import load as sources
from transfer_cli.errors import UserError, first_line
from transfer_cli.models.preprocessing import Preprocessing
from transfer_cli.records.terminal import Reporter
from transfer_cli.rundir import saved_experiment
from transfer_cli.runs.prediction import inputs
from transfer_cli.runs.saved_model import Description


@dataclass(frozen=True)
class Samples:
    """N images as the network is to see them."""

    pixels: Tensor
    """uint8 [N, C, S, S]."""
    labels: NDArray[np.int64]
    """Classes of the model, [N]; -1 where unknown."""
    origin: str
    """What they are, for people."""
    real: bool = True


def gather(e: Experiment, run: Path, about: Description, least: int, most: int, reporter: Reporter) -> Samples:
    """Up to `most` images: of `input`, else of the run's own data set, else random ones.

    Training images of the set only where there are not `least` others. Raises UserError where `input` has none.
    """
    if e.input is not None:
        return _of_input(e.input, about, most, e.dataset.max_pixels, reporter)
    try:
        saved = saved_experiment(run)
        images = sources.load(saved.dataset, saved.seed)
        found = _of_set(images, about, least, most)
    except (UserError, OSError) as error:
        reporter.warn(f"compared on random pictures, since the images of the run are not there ({first_line(error)})")
        return _random(about.preprocessing, least)
    if found is None:
        reporter.warn(f"compared on random pictures, since no image of {images.name} can be decoded")
        return _random(about.preprocessing, least)
    return found


def _of_input(source: str, about: Description, count: int, max_pixels: int | None, reporter: Reporter) -> Samples:
    pixels: list[Tensor] = []
    found = inputs.find(source, reporter.warn, arrays=about.channels is not None)
    for picture in (picture for part in found.parts for picture in part):
        try:
            image = open_picture(picture.file, channels=about.channels, max_pixels=max_pixels)
            pixels.append(about.preprocessing.apply(image))
        except DecodeError as error:
            reporter.warn(f"left out: {error}")
        if len(pixels) == count:
            break
    if not pixels:
        raise UserError(f"input={source}: no readable image to compare the export on.")
    return Samples(torch.stack(pixels), np.full(len(pixels), -1), f"{len(pixels):,} images of {source}")


def _of_set(images: ImageSet, about: Description, least: int, most: int) -> Samples | None:
    """Images spread evenly over test, then validation, then training; None where none can be decoded."""
    pixels: list[Tensor] = []
    labels: list[int] = []
    known = images.classes == about.classes
    used: list[str] = []
    for split in ("test", "val", "train"):
        indices, wanted = images.splits[split], (least if split == "train" else most) - len(pixels)
        before = len(pixels)
        for index in indices[np.linspace(0, len(indices) - 1, min(max(wanted, 0), len(indices))).astype(np.int64)]:
            try:
                pixels.append(about.preprocessing.apply(images.read(int(index))))
            except DecodeError:
                continue
            labels.append(int(images.labels[index]) if known else -1)
        used += [split] if len(pixels) > before else []
    if not pixels:
        return None
    origin = f"{len(pixels):,} images of {images.name} ({', '.join(used)})"
    return Samples(torch.stack(pixels), np.array(labels, np.int64), origin)


def _random(preprocessing: Preprocessing, count: int) -> Samples:
    """Pictures of coarse and fine noise, the same every time."""
    random, size, channels = np.random.default_rng(0), preprocessing.crop_pixels, preprocessing.channels
    coarse = random.integers(0, 256, (count, channels, 4, 4), dtype=np.uint8)
    places = np.arange(size) * 4 // size
    fine = random.integers(0, 128, (count, channels, size, size), dtype=np.uint8)
    pixels = coarse[:, :, places][:, :, :, places] // 2 + fine
    return Samples(torch.from_numpy(pixels), np.full(count, -1), f"{count:,} random pictures", real=False)
