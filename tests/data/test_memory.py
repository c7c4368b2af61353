"""Memory: ten times the images take under a tenth more, from the first pass to the last batch."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytestmark = pytest.mark.slow

FEW, MANY = 400, 4000
MEASURE = """
import resource, sys
from pathlib import Path
import numpy as np
from transfer_cli.cache.entries import Cache
from transfer_cli.command.overrides import parse_overrides
from transfer_cli.command.source import ConfigSource, conf_dir
from transfer_cli.command.compose import compose, to_plain
from transfer_cli.config.parse import parse
from transfer_cli.data.store import firstpass, formats
from transfer_cli.data.batches import OrderedBatches, Samples, TrainBatches
from transfer_cli.data.store.formats import PixelRequest
from transfer_cli.data.sources.load import load
from transfer_cli.data.store.open import StoreOptions, open_store
from transfer_cli.engine.devices import memory
from tests.imagenet import IMAGENET
from transfer_cli.records.terminal import Reporter

memory.keep_freed()
folder, where = sys.argv[1:]
words = ["augment=standard", "dataset=folder", f"dataset.path={folder}"]
experiment = parse(to_plain(compose(ConfigSource(conf_dir(), "config", None), parse_overrides(words))))
augment, images = experiment.augment, load(experiment.dataset, 0)
preprocessing = IMAGENET.at(96)
held_out = np.union1d(images.splits["val"], images.splits["test"])
training = PixelRequest(formats.training(preprocessing, 1.5), images.splits["train"])
wants = [training, PixelRequest(formats.evaluation(preprocessing), held_out)]
firstpass.CHUNK_IMAGES = 1000
opened = open_store(images, wants, StoreOptions(where, "error"), Cache(Path("cache"), 10**12), Reporter(quiet=True))
assert opened.store.where == where
samples = Samples(images, opened.store, preprocessing, augment, seed=0)
for batch in TrainBatches(samples, batch_size=32, workers=2).epoch(0):
    pass
for batch in OrderedBatches(samples, held_out, batch_size=32, workers=2):
    pass
print(max(memory.peak_bytes() // 1024, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss))
"""


def make(folder: Path, count: int) -> None:
    """Photos of two classes; 62 kB a piece once decoded."""
    random = np.random.default_rng(0)
    for name in ("a", "b"):
        (folder / name).mkdir(parents=True)
        file = io.BytesIO()
        Image.fromarray(random.integers(0, 256, (150, 200, 3), dtype=np.uint8)).save(file, "JPEG")
        for number in range(count // 2):
            (folder / name / f"{number}.jpg").write_bytes(file.getvalue())


def peak_kilobytes(folder: Path, where: str) -> int:
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(folder), where],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


@pytest.mark.parametrize("where", ["disk", "stream"])
def test_peak_memory_does_not_grow_with_the_set(where: str, tmp_path: Path) -> None:
    for name, count in (("few", FEW), ("many", MANY)):
        make(tmp_path / name, count)
    few, many = (peak_kilobytes(tmp_path / name, where) for name in ("few", "many"))
    print(f"\n{where}: {few / 1000:.0f} MB for {FEW:,} images, {many / 1000:.0f} MB for {MANY:,}")
    assert many < 1.1 * few


def test_the_measurement_would_notice(tmp_path: Path) -> None:
    """With everything in memory it does grow."""
    for name, count in (("few", FEW), ("many", MANY)):
        make(tmp_path / name, count)
    few, many = (peak_kilobytes(tmp_path / name, "ram") for name in ("few", "many"))
    assert many > 1.3 * few
