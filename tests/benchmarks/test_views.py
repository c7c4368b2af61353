"""Training views against torchvision's transforms of the same decoded images, doing the same operations."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import v2

from tests.conftest import experiment
from tests.imagenet import IMAGENET
from transfer_cli.config.schema import Augment
from transfer_cli.data.views.augment import Views, make_views
from transfer_cli.engine.devices.device import Normalize

pytestmark = [pytest.mark.bench, pytest.mark.usefixtures("one_thread")]

WIDTH, HEIGHT, SIZE, BATCH, BATCHES = 500, 375, 224, 64, 6
CORES = len(os.sched_getaffinity(0))


def photos() -> list[np.ndarray]:
    random = np.random.default_rng(0)
    smooth = [random.integers(0, 256, (24, 32, 3), dtype=np.uint8) for _ in range(BATCH)]
    return [np.asarray(Image.fromarray(image).resize((WIDTH, HEIGHT), Image.BICUBIC)) for image in smooth]


def recipe(name: str) -> Augment:
    return experiment(f"augment={name}").augment


def spread(images: list[np.ndarray], params: Augment, view: int, pool: ThreadPoolExecutor) -> Views:
    """Views of a batch, eight images a thread."""
    rows = [slice(first, first + 8) for first in range(0, BATCH, 8)]
    indices, bilinear = np.arange(BATCH), Image.Resampling.BILINEAR
    made = [*pool.map(lambda some: make_views(images[some], params, 0, view, indices[some], SIZE, bilinear), rows)]
    colours = [part.colour for part in made if part.colour is not None]
    return Views(np.concatenate([part.pixels for part in made]), np.concatenate(colours) if colours else None)


def ours(images: list[np.ndarray], params: Augment, pool: ThreadPoolExecutor) -> Callable[[int], torch.Tensor]:
    normalize = Normalize(IMAGENET.mean, IMAGENET.std, torch.device("cpu"))

    def batch(view: int) -> torch.Tensor:
        made = spread(images, params, view, pool)
        colour = None if made.colour is None else torch.from_numpy(made.colour)
        return normalize(torch.from_numpy(made.pixels).permute(0, 3, 1, 2), colour)

    return batch


def torchvisions(images: list[np.ndarray], params: Augment, pool: ThreadPoolExecutor) -> Callable[[int], torch.Tensor]:
    assert params.crop_scale is not None
    transform = v2.Compose(
        [
            v2.RandomResizedCrop(SIZE, params.crop_scale, params.crop_ratio, antialias=True),
            v2.RandomHorizontalFlip(params.flip),
            v2.ColorJitter(params.brightness, params.contrast, params.saturation),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(IMAGENET.mean, IMAGENET.std),
        ]
    )
    tensors = [torch.from_numpy(image.transpose(2, 0, 1).copy()) for image in images]

    def batch(_: int) -> torch.Tensor:
        return torch.stack(list(pool.map(transform, tensors)))

    return batch


def speed(batch: Callable[[int], torch.Tensor]) -> tuple[float, float]:
    """Images a second, and images a second of processor time: the second means something on a busy machine too."""
    walls, processors = [], []
    for view in range(BATCHES):
        wall, processor = time.perf_counter(), time.process_time()
        made = batch(view)
        walls.append(time.perf_counter() - wall)
        processors.append(time.process_time() - processor)
        assert made.shape == (BATCH, 3, SIZE, SIZE)
    return BATCH / min(walls), BATCH / min(processors)


def test_standard_views_are_faster_than_torchvisions() -> None:
    images, params = photos(), recipe("standard")
    with ThreadPoolExecutor(CORES) as pool:
        (wall, found), (their_wall, theirs) = (speed(make(images, params, pool)) for make in (ours, torchvisions))
    print(
        f"\nviews/s at {SIZE} px from {WIDTH} x {HEIGHT}: {found:.0f} a core, torchvision {theirs:.0f}, "
        f"ratio {found / theirs:.1f}; on {CORES} cores as busy as they are {wall:.0f} and {their_wall:.0f}"
    )
    assert found > 1.3 * theirs


@pytest.mark.parametrize("name", ["none", "light", "strong", "trivial", "bit"])
def test_speed_of_the_other_recipes(name: str) -> None:
    images, params = photos(), recipe(name)
    if params.crop_scale is None:
        images = [np.ascontiguousarray(image[:SIZE, :SIZE]) for image in images]
    with ThreadPoolExecutor(CORES) as pool:
        wall, found = speed(ours(images, params, pool))
    print(f"\nviews/s, augment={name}: {found:.0f} a core; on {CORES} cores as busy as they are {wall:.0f}")


@pytest.mark.parametrize("name", ["standard", "strong"])
def test_threads_run_at_the_same_time(name: str) -> None:
    """Views release the GIL: two threads get more processor time than passes, where there are two idle cores."""
    images, params = photos(), recipe(name)
    with ThreadPoolExecutor(CORES) as pool:
        wall, processor = time.perf_counter(), time.process_time()
        for view in range(BATCHES):
            spread(images, params, view, pool)
        used = (time.process_time() - processor) / (time.perf_counter() - wall)
    print(f"\nprocessors in use on average, augment={name}: {used:.2f} of {CORES}, load {os.getloadavg()[0]:.1f}")
