"""image_size=auto and image_fit=auto: by the pictures' own size, against that of the weights."""

from __future__ import annotations

import io
import re
import statistics
import warnings
from dataclasses import replace

import numpy as np
from PIL import Image

from transfer_cli.config.auto import AUTO
from transfer_cli.config.schema import Experiment
from transfer_cli.data.reading.image_set import ImageSet
from transfer_cli.models.preprocessing import Fit
from transfer_cli.records.terminal import Reporter
from transfer_cli.runs.pretrained import Pretrained, with_fraction

SAMPLED = 64
SMALL = 0.75
"""Pictures are small below this share of the weights' size."""
ENLARGED, SMALLEST, STEP = 3, 64, 32
"""Small pictures are shown at three times their side: networks halve it five times before they look at the whole."""
LONG = 1.25
"""Long side over short side from which squashing would be seen."""
# Networks that cut images into a grid of one size; timm says so of its own, torchvision and a run's files do not.
GRID = re.compile(
    r"(^|_)(vit|deit3?|beit(v2)?|eva(02)?|swin|swinv2|cait|xcit|volo|mixer|maxvit|maxxvit|coat|levit|pit)(_|$)"
)


def with_size(
    e: Experiment, pretrained: Pretrained, images: ImageSet, reporter: Reporter
) -> tuple[Experiment, Pretrained]:
    """Size and fit as plain values, and the weights' preprocessing with these."""
    if AUTO not in (e.image_size, e.image_fit):
        return e, pretrained
    own = pretrained.preprocessing
    weights_size = pretrained.source.preprocessing.crop_pixels
    shapes = _shapes(images)
    short = statistics.median(min(shape) for shape in shapes) if shapes else weights_size
    small = short < SMALL * weights_size
    size, fit = e.image_size, e.image_fit
    if size == AUTO:
        one_size = pretrained.source.fixed_size or GRID.search(e.model.name) is not None
        size = weights_size if one_size or not small else _size(short, weights_size)
        why = f"pictures of {short:g} px" if small else "that of the weights"
        reporter.say(f"auto      image_size={size}: {why}, weights of {weights_size} px")
    if fit == AUTO:
        fit = _fit(shapes) if small else own.fit
        if fit != "crop":
            why = "small pictures are shown whole" if small else "as the weights were trained"
            reporter.say(f"auto      image_fit={fit}: {why}")
    preprocessing = with_fraction(e, (own if size == own.crop_pixels else own.at(size)).fitted(fit))
    return replace(e, image_size=size, image_fit=fit), replace(pretrained, preprocessing=preprocessing)


def _size(short: float, weights_size: int) -> int:
    """Pixels of a side for pictures whose short side is `short`."""
    wanted = STEP * -(-round(ENLARGED * short) // STEP)
    return min(max(wanted, SMALLEST), weights_size)


def _fit(shapes: list[tuple[int, int]]) -> Fit:
    longer = statistics.median(max(shape) / min(shape) for shape in shapes) if shapes else 1.0
    return "pad" if longer > LONG else "squash"


def _shapes(images: ImageSet) -> list[tuple[int, int]]:
    """Width and height of some training images; of those whose header cannot be read the first pass will tell."""
    train = images.splits["train"]
    if len(train) == 0:
        return []
    sample = train[np.unique(np.linspace(0, len(train) - 1, SAMPLED).astype(int))]
    return [shape for index in sample if (shape := _shape(images, int(index))) is not None]


def _shape(images: ImageSet, index: int) -> tuple[int, int] | None:
    try:
        if images.encoded is None or not images.files or images.channels is not None:
            return images.read(index).size
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(images.encoded.encoded(index))) as image:
                return image.size
    except Exception:
        return None
