"""From JPEG files to normalised pixels on the device: our loader and torchvision's, the same operations, in turns."""

from __future__ import annotations

import io
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

from tests.conftest import experiment
from tests.data.loading import load
from tests.imagenet import IMAGENET
from transfer_cli.cache.entries import Cache
from transfer_cli.config.schema import Augment
from transfer_cli.data.batches import Samples, TrainBatches
from transfer_cli.data.store import formats
from transfer_cli.data.store.formats import PixelRequest
from transfer_cli.data.store.open import StoreOptions, open_store
from transfer_cli.engine.devices import memory
from transfer_cli.engine.devices.device import Normalize, PixelsToDevice
from transfer_cli.records.terminal import Reporter

pytestmark = [pytest.mark.bench, pytest.mark.usefixtures("one_thread")]

IMAGES, BATCH, WORKERS, TURNS, SIZE = 640, 64, 2, 5, 224
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photo-like files of 500 x 375 pixels, about 50 kB each, in two classes."""
    random = np.random.default_rng(0)
    root = tmp_path_factory.mktemp("photos")
    for name in ("a", "b"):
        (root / name).mkdir()
    for number in range(IMAGES):
        small = Image.fromarray(random.integers(0, 256, (24, 32, 3), dtype=np.uint8))
        smooth = np.asarray(small.resize((500, 375), Image.Resampling.BICUBIC))
        noisy = np.clip(smooth + random.normal(0, 6, smooth.shape), 0, 255).astype(np.uint8)
        file = io.BytesIO()
        Image.fromarray(noisy).save(file, "JPEG", quality=88)
        (root / "ab"[number % 2] / f"{number}.jpg").write_bytes(file.getvalue())
    return root


@pytest.fixture(autouse=True)
def _keeps_freed_memory() -> None:
    """As a run does; in the turns of either loader."""
    memory.keep_freed()


def recipe() -> Augment:
    return experiment("augment=standard").augment


def ours(folder: Path, cache: Path, where: str) -> Callable[[int], int]:
    """An epoch of our loader over all images; the first pass is done before."""
    images = load("folder", folder, val_fraction=0.01, test_fraction=0.0)
    wants = [PixelRequest(formats.training(IMAGENET, 1.5), images.splits["train"])]
    opened = open_store(images, wants, StoreOptions(where, "error"), Cache(cache, 10**12), Reporter(quiet=True))
    samples = Samples(images, opened.store, IMAGENET, recipe(), seed=0)
    batches = TrainBatches(samples, batch_size=BATCH, workers=WORKERS)
    place = PixelsToDevice(Normalize(IMAGENET.mean, IMAGENET.std, DEVICE))
    return lambda epoch: consume(place(batch).inputs for batch in batches.epoch(epoch))


def torchvisions(folder: Path) -> Callable[[int], int]:
    """An epoch of torchvision's loader, doing the same to the same files."""
    params = recipe()
    assert params.crop_scale is not None
    transform = v2.Compose(
        [
            v2.ToImage(),
            v2.RandomResizedCrop(SIZE, params.crop_scale, params.crop_ratio, antialias=True),
            v2.RandomHorizontalFlip(params.flip),
            v2.ColorJitter(params.brightness, params.contrast, params.saturation),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(IMAGENET.mean, IMAGENET.std),
        ]
    )
    dataset = ImageFolder(str(folder), transform)
    loader = DataLoader(dataset, BATCH, shuffle=True, num_workers=WORKERS, persistent_workers=True)
    return lambda epoch: consume(images.to(DEVICE) for images, _ in loader)


def consume(batches: Iterator[torch.Tensor]) -> int:
    """How many images of the right size arrived."""
    count = 0
    for batch in batches:
        assert batch.shape[1:] == (3, SIZE, SIZE)
        assert batch.dtype == torch.float32
        count += len(batch)
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()
    return count


def speeds(*epochs: Callable[[int], int]) -> list[float]:
    """Median images a second of each, measured in turns after a warm-up."""
    measured: list[list[float]] = [[] for _ in epochs]
    for turn in range(TURNS + 1):
        for run, results in zip(epochs, measured, strict=True):
            started = time.perf_counter()
            count = run(turn)
            results.append(count / (time.perf_counter() - started))
    return [statistics.median(results[1:]) for results in measured]


def test_the_store_is_three_times_as_fast_as_torchvisions_loader(folder: Path, tmp_path: Path) -> None:
    started = time.perf_counter()
    stored = ours(folder, tmp_path, "disk")
    seconds = time.perf_counter() - started
    found, theirs = speeds(stored, torchvisions(folder))
    print(
        f"\nstore: {found:.0f} images/s, torchvision {theirs:.0f}, ratio {found / theirs:.2f}; "
        f"first pass {IMAGES / seconds:.0f} images/s"
    )
    assert found > 3 * theirs


def test_streaming_is_as_fast_as_torchvisions_loader(folder: Path, tmp_path: Path) -> None:
    found, theirs = speeds(ours(folder, tmp_path, "stream"), torchvisions(folder))
    print(f"\nstream: {found:.0f} images/s, torchvision {theirs:.0f}, ratio {found / theirs:.2f}")
    assert found > theirs
