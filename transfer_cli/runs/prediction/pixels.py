"""Images as the members of an ensemble want them, decoded ahead of their use; what cannot be read is a value, too.

Legend: B images, V views, S pixels of a side.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray

from transfer_cli.config.schema import Augment
from transfer_cli.data.batches import Batch, unlabelled
from transfer_cli.data.reading.bands.open import open_picture
from transfer_cli.data.reading.decode import DecodeError
from transfer_cli.data.reading.workers import auto_workers, cpus, run_jobs
from transfer_cli.data.views.augment import Views, make_views, train_source
from transfer_cli.data.views.geometry import Pixels
from transfer_cli.models.bands import Picture
from transfer_cli.models.preprocessing import RESAMPLING, Preprocessing
from transfer_cli.runs.prediction.inputs import Item

IMAGES_A_JOB = 16
_FEW = 128
"""Up to so many images threads decode: worker processes would have to be started."""
_LEAST_AREA = 0.5
"""Of an image, that a view shows: training crops may leave out what the label is about."""
_SEED = 0


@dataclass(frozen=True)
class Look:
    """How a network sees an image: as it is evaluated first, and then in views of `augment`."""

    preprocessing: Preprocessing
    augment: Augment | None = None
    """None: as it is evaluated, and nothing else."""
    source_factor: float = 1.0
    views: int = 1

    def of(self, image: Picture) -> list[Views]:
        """V views of one image."""
        plain = self.preprocessing.pixels(image)
        shown = [Views(plain[None], None)]
        if self.augment is None:
            return shown
        size, resample = self.preprocessing.crop_pixels, RESAMPLING[self.preprocessing.interpolation]
        cropped = self.augment.crop_scale is not None
        source: Pixels = train_source(image, size, resample, self.source_factor) if cropped else plain
        # The same number for all: what a view shows depends on the image alone, and not on its place in the input.
        index = np.zeros(1, np.int64)
        return shown + [
            make_views([source], self.augment, _SEED, view, index, size, resample) for view in range(1, self.views)
        ]


def gentle(recipe: Augment) -> Augment | None:
    """What of a training recipe views for prediction take: crops of half the image or more, flips, turns, colours.

    None where nothing of it varies.
    """
    crop, still = recipe.crop_scale, Augment(recipe.name)
    views = replace(
        still,
        crop_scale=None if crop is None else (max(crop[0], _LEAST_AREA), max(crop[1], _LEAST_AREA)),
        crop_ratio=recipe.crop_ratio,
        **{key: getattr(recipe, key) for key in _KEPT},
    )
    return None if crop is None and all(getattr(views, key) == 0 for key in _KEPT) else views


_KEPT = ("flip", "vertical_flip", "rotate", "shear", "brightness", "contrast", "saturation", "hue", "grayscale")


@dataclass(frozen=True)
class Read:
    """What became of a file: whether there is an image, and what is to be said of it."""

    picture: Item
    remark: str = ""
    problem: str = ""


@dataclass(frozen=True)
class Part:
    """Some files of the input in their order, and the pixels of those that are images."""

    files: list[Read]
    shown: list[list[Batch]] = field(default_factory=list)
    """For each look, its V views of B images; none without images."""

    @property
    def images(self) -> list[Read]:
        """Those that could be read, B."""
        return [file for file in self.files if not file.problem]


def read_part(pictures: list[Item], looks: tuple[Look, ...], channels: int | None, max_pixels: int | None) -> Part:
    """Decode some files, one after another."""
    files: list[Read] = []
    shown: list[list[list[Views]]] = []
    for picture in pictures:
        remarks: list[str] = []
        try:
            image = open_picture(picture.file, channels=channels, max_pixels=max_pixels, remark=remarks.append)
        except DecodeError as error:
            files.append(Read(picture, problem=str(error)))
            continue
        shown.append([look.of(image) for look in looks])
        files.append(Read(picture, remark="; ".join(remarks)))
    return Part(files, [[_stacked(view) for view in zip(*look, strict=True)] for look in zip(*shown, strict=True)])


def read_ahead(
    pictures: list[Item], looks: tuple[Look, ...], channels: int | None, max_pixels: int | None, workers: int | str
) -> Iterator[Part]:
    """All files in their order, decoded ahead by worker processes (`workers`, or auto), or by threads where few.

    Raises RunError where a worker dies or hangs.
    """
    threads = len(pictures) <= _FEW
    automatic = cpus() if threads else auto_workers(threads=False, cpu_count=cpus())

    def job(step: int) -> Part:
        return read_part(pictures[step * IMAGES_A_JOB : (step + 1) * IMAGES_A_JOB], looks, channels, max_pixels)

    steps = range(-(-len(pictures) // IMAGES_A_JOB))
    return run_jobs(job, steps, automatic if isinstance(workers, str) else workers, threads=threads)


def joined(parts: list[Part]) -> Part:
    """Parts that follow each other as one."""
    with_images = [part.shown for part in parts if part.shown]
    looks = zip(*with_images, strict=True)
    return Part(
        [file for part in parts for file in part.files],
        [[_joined(view) for view in zip(*look, strict=True)] for look in looks],
    )


def _stacked(views: tuple[Views, ...]) -> Batch:
    """One view of each of B images as a batch."""
    pixels = torch.from_numpy(np.concatenate([view.pixels for view in views])).permute(0, 3, 1, 2)
    colours: list[NDArray[np.float32]] = [view.colour for view in views if view.colour is not None]
    return unlabelled(pixels, torch.from_numpy(np.concatenate(colours)) if colours else None)


def _joined(batches: tuple[Batch, ...]) -> Batch:
    colours = [batch.colour for batch in batches if batch.colour is not None]
    return unlabelled(torch.cat([batch.inputs for batch in batches]), torch.cat(colours) if colours else None)
