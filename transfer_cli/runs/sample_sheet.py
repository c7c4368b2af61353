"""What training will see, drawn before it begins: a mistake in the data is found sooner by eye than by accuracy."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from transfer_cli.data.views.augment import examples
from transfer_cli.models.preprocessing import RESAMPLING
from transfer_cli.records import sheet
from transfer_cli.runs.materials import Materials
from transfer_cli.runs.views import shows_evaluation_pixels

SHOWN_SAMPLES, SHOWN_EPOCHS = 8, 5


def draw_samples(materials: Materials, directory: Path) -> None:
    """Write `plots/samples.png`: training samples of as many classes as fit, as the first epochs show them.

    Where training sees the pixels of evaluation there is nothing to show.
    """
    m = materials
    if shows_evaluation_pixels(m.augment) or m.augment.crop_scale is None:
        return
    members = m.images.splits["train"]
    # The first sample of each class, then the second, and so on.
    labels = m.images.labels[members]
    turn = np.zeros(len(members), dtype=np.int64)
    for label in np.unique(labels):
        turn[labels == label] = np.arange((labels == label).sum())
    indices = members[np.lexsort((labels, turn))[:SHOWN_SAMPLES]]
    sources = m.pixels.store.sources(indices)
    resample = RESAMPLING[m.preprocessing.interpolation]
    size, seed = m.preprocessing.crop_pixels, m.experiment.seed
    views = examples(sources, m.augment, seed, indices, size, resample, SHOWN_EPOCHS)
    names = [m.images.classes[label] if label >= 0 else "" for label in m.images.labels[indices]]
    (directory / "plots").mkdir(exist_ok=True)
    sheet.samples(sources, views, names, directory / "plots" / sheet.SAMPLES)
