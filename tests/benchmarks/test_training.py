"""What a training costs beside its arithmetic: against a bound, a Lightning loop, and a plain one, in turns.

The bound: forward, backward and step of the same network over one batch that is there already. Where seconds of the
processor are told they are those of all threads and workers, which other programs on the machine hardly change.
"""

from __future__ import annotations

import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from tests.benchmarks.training.ours import QUIET, Epoch, setting_of
from tests.benchmarks.training.pictures import write_digits, write_lite0
from tests.benchmarks.training.turns import Contender, Turn
from tests.conftest import experiment, summary
from transfer_cli.cache.entries import Cache
from transfer_cli.engine.stop import Stop
from transfer_cli.runs.extract import job as extract
from transfer_cli.runs.extract.job import ExtractJob
from transfer_cli.runs.frozen.features import CachedFeatures

pytestmark = pytest.mark.bench

TURNS = 3
SETTINGS = {
    # Without weights at hand; few images, for it takes as long as two of the other.
    "resnet18": ["model=resnet18", "model.weights=none", "image_size=128", "dataset.train_fraction=0.22"],
    "efficientnet_lite0": ["model=efficientnet_lite0", "image_size=64"],
}
PAIRS = {"resnet18": 20, "efficientnet_lite0": 50}
# What Lightning's run does; by default ours would also look at what the images bear, and fit a head to frozen features.
WHOLE = [
    *("model=efficientnet_lite0", "dataset=folder", "image_size=32", "trainer.epochs=2"),
    *("augment=light", "strategy.keep_probe=false"),
]
# Steps as large as trainer.batch_size=auto takes them; features of more images, for each split has its files to write.
IMAGES_ON_GPU, GPU_BATCH, FEATURES_ON_GPU = 8192, 256, 16384
ON_GPU = [
    *("dataset=fake", "dataset.store=device", "image_size=224"),
    *("model.weights=none", "trainer.device=cuda", "trainer.precision=bf16"),
]
ROOT = str(Path(__file__).parents[2])

needs_lightning = pytest.mark.skipif(importlib.util.find_spec("lightning") is None, reason="needs pip's extra `bench`")
on_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """1,500 images of 500 x 375 px, about 30 kB each; 70 % are to train on."""
    return ["dataset=folder", f"dataset.path={write_digits(tmp_path_factory.mktemp('photos'), 1500, (500, 375))}"]


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """5,000 images of 32 px."""
    return write_digits(tmp_path_factory.mktemp("small"), 5000, (32, 32))


def bound(epoch: Epoch) -> Callable[[], None]:
    """One step of the network that `epoch` trains, as fast as torch takes it."""
    job = epoch.job
    network, strategy = job.network, job.materials.experiment.strategy
    batch = epoch.trainer.to_device(next(epoch.batches.epoch(0)))
    optimizer = torch.optim.AdamW(network.parameters(), 1e-4, weight_decay=0.01, fused=True)
    smoothing = strategy.label_smoothing  # type: ignore[union-attr]
    network.train()

    def step() -> None:
        optimizer.zero_grad()
        with job.compute.autocast():
            loss = F.cross_entropy(network(batch.inputs), batch.labels, label_smoothing=smoothing)
        loss.backward()
        optimizer.step()

    return step


def full_steps(epoch: Epoch) -> Generator[int, None, None]:
    """Steps of whole batches, epoch after epoch."""
    size = epoch.job.materials.experiment.trainer.step_images
    while True:
        yield from (images for images in epoch.steps() if images == size)


def spent(work: Callable[[], object]) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Seconds by the clock, and of the processor in all threads of this process."""
    wall, processor = time.perf_counter(), time.process_time()
    work()
    return np.array([time.perf_counter() - wall, time.process_time() - processor])


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("model", SETTINGS)
def test_steps_are_hardly_slower_than_their_arithmetic(model: str, photos: list[str]) -> None:
    words = [*SETTINGS[model], *photos]
    ours, arithmetic = Epoch.of(*words), bound(Epoch.of(*words))
    steps = full_steps(ours)
    for _ in range(2):
        next(steps)
        arithmetic()
    pairs = []
    for turn in range(PAIRS[model]):
        works = [lambda: next(steps), arithmetic]
        first, second = (spent(work) for work in (works if turn % 2 else reversed(works)))
        own, least = (first, second) if turn % 2 else (second, first)
        pairs.append(least / own)
    steps.close()
    wall, processor = np.median(pairs, axis=0)
    low, high = np.quantile(pairs, [0.25, 0.75], axis=0)[:, 1]
    print(
        f"\n{model}, {ours.job.precision}: {processor:.3f} of the bound by seconds of the processor, views included "
        f"(quartiles {low:.2f} and {high:.2f}), {wall:.3f} by the clock (target 0.97); load {os.getloadavg()[0]:.1f}"
    )
    assert processor >= 0.9


@needs_lightning
@pytest.mark.parametrize("model", SETTINGS)
def test_epochs_are_faster_than_lightnings(model: str, photos: list[str]) -> None:
    with ExitStack() as running:
        ours = running.enter_context(Contender("ours", *SETTINGS[model], *photos))
        rivals = {}
        for precision in ("32-true", "bf16-mixed"):
            words = ["turns", json.dumps({**ours.about, "precision": precision})]
            rivals[precision] = running.enter_context(Contender("with_lightning", *words))
        # A first epoch makes kernels, moments and workers; of Lightning's precisions it also tells the better.
        ours.turn()
        first = {precision: rival.turn().seconds for precision, rival in rivals.items()}
        best = min(first, key=first.__getitem__)
        turns = [(ours.turn(), rivals[best].turn()) for _ in range(TURNS)]
    wall = [speed(own) / speed(other) for own, other in turns]
    processor = statistics.median(other.processor / own.processor for own, other in turns)
    print(
        f"\n{model}: {statistics.median(speed(own) for own, _ in turns):.0f} images/s, Lightning ({best}) "
        f"{statistics.median(speed(other) for _, other in turns):.0f}, ratio {statistics.median(wall):.2f} "
        f"({min(wall):.2f} to {max(wall):.2f}; target 1.3), {processor:.2f} by seconds of the processor; {load()}"
    )
    assert processor > 1


@needs_lightning
def test_a_whole_run_is_faster_than_one_of_lightning(small: Path) -> None:
    """2 epochs, of 5,000 images 70 % to train on, the others to validate and to test on; our first pass included."""
    weights, seconds = write_lite0(Path("lite0.pt").absolute()), []
    for turn in range(2):
        name = f"whole-{turn}"
        words = [*WHOLE, f"dataset.path={small}", f"name={name}", f"cache_dir=cache-{turn}", "quiet=true"]
        own = seconds_of("transfer_cli", *words)
        setting = {**setting_of(Path("outputs/runs", name)), "weights": str(weights)}
        other = seconds_of("tests.benchmarks.training.with_lightning", "whole", json.dumps(setting))
        seconds.append((own[0], other[0]))
    score = summary(f"outputs/runs/{name}")["test"]["accuracy"]
    ratios = [other / own for own, other in seconds]
    print(
        f"\n2 epochs on 5,000 images: {min(own for own, _ in seconds):.1f} s, Lightning "
        f"{min(other for _, other in seconds):.1f}, ratio {statistics.median(ratios):.2f} ({min(ratios):.2f} to "
        f"{max(ratios):.2f}; target 1.25); test accuracy {score:.3f} and {json.loads(other[1])['test']:.3f}; {load()}"
    )
    assert statistics.median(ratios) > 1


def test_a_run_needs_hardly_more_memory_than_a_plain_loop(photos: list[str]) -> None:
    """Resident in the process that trains, at most; the plain loop's workers, which decode, are left out."""
    words = [*SETTINGS["resnet18"], *photos, "trainer.epochs=1", "trainer.precision=fp32"]
    seconds_of("transfer_cli", *words, "name=memory", "quiet=true")
    found = Path("outputs/runs/memory")
    plain = json.loads(seconds_of("tests.benchmarks.training.plain", json.dumps(setting_of(found)))[1])["peak"]
    own = summary(found)["peak_memory_bytes"]
    print(f"\npeak memory {own / 2**20:.0f} MiB, plain loop {plain / 2**20:.0f}, {own / plain:.2f} (target 1.1)")
    assert own <= 1.1 * plain


def load() -> str:
    return f"load {os.getloadavg()[0]:.1f} on {len(os.sched_getaffinity(0))} cores"


def speed(turn: Turn) -> float:
    return turn.images / turn.seconds


def seconds_of(module: str, *words: str) -> tuple[float, str]:
    """Of a process from start to end; and what it prints last."""
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", module, *words],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": ROOT},
    )
    seconds = time.perf_counter() - started
    assert done.returncode == 0, done.stderr
    return seconds, done.stdout.splitlines()[-1]


@on_gpu
@pytest.mark.gpu
@pytest.mark.parametrize("model", ["resnet50", "vit_b_16"])
def test_a_gpu_trains_nearly_as_fast_as_its_arithmetic(model: str) -> None:
    words = [*ON_GPU, f"model={model}", "augment=standard", f"dataset.samples={IMAGES_ON_GPU}"]
    words.append(f"trainer.batch_size={GPU_BATCH}")
    ours, step = Epoch.of(*words), bound(Epoch.of(*words))

    def steps() -> int:
        for _ in range(ours.batches.steps_per_epoch):
            step()
        return ours.batches.steps_per_epoch * GPU_BATCH

    share = share_of_bound(lambda: sum(ours.steps()), steps)
    print(f"\n{model}, 224 px, bf16: training at {share:.3f} of the bound (target 0.95)")
    assert share >= 0.95


@on_gpu
@pytest.mark.gpu
@pytest.mark.parametrize("model", ["resnet50", "vit_b_16"])
def test_a_gpu_extracts_nearly_as_fast_as_its_arithmetic(model: str) -> None:
    words = [*ON_GPU, f"model={model}", "augment=none", "strategy=extract", f"dataset.samples={FEATURES_ON_GPU}"]
    job = extract.prepare(experiment(*words), QUIET, Stop(), None)
    assert isinstance(job, ExtractJob)
    frozen, forward = job.frozen, job.frozen.forward()
    size, m = frozen.batch_size, job.materials
    batch = frozen.to_device(next(iter(m.ordered("train", size)))).inputs

    def extracted() -> int:
        before = frozen.images_computed
        frozen.cache = Cache(Path(tempfile.mkdtemp(dir=".")), 10**12)
        CachedFeatures(m, frozen, size).compute()
        return frozen.images_computed - before

    def forwards() -> int:
        with torch.inference_mode(), frozen.compute.products(), frozen.compute.autocast():
            for _ in range(FEATURES_ON_GPU // size):
                forward(batch)
        return FEATURES_ON_GPU // size * size

    share = share_of_bound(extracted, forwards)
    print(f"\n{model}, 224 px, bf16: extraction at {share:.3f} of the bound (target 0.95)")
    assert share >= 0.95


def share_of_bound(ours: Callable[[], int], least: Callable[[], int]) -> float:
    """Images a second of one work in those of the other, in turns after a warm-up."""

    def images_per_second(work: Callable[[], int]) -> float:
        torch.cuda.synchronize()
        started = time.perf_counter()
        images = work()
        torch.cuda.synchronize()
        return images / (time.perf_counter() - started)

    ratios = [images_per_second(ours) / images_per_second(least) for _ in range(TURNS + 1)]
    return statistics.median(ratios[1:])
