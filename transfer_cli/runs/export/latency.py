"""How long an exported model takes: medians for batches of 1, 8 and 64, on one thread and on all."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from time import perf_counter
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from transfer_cli.data.reading.workers import cpus
from transfer_cli.runs.export.subject import Runner

BATCHES = (1, 8, 64)
_RUNS = 15
_SECONDS = 1.5
"""After so long a measurement ends, once it has run three times."""


class Timing(NamedTuple):
    """The median of a few runs."""

    model: str
    threads: int
    batch: int
    milliseconds: float
    runs: int

    @property
    def images_per_second(self) -> float:
        """By that median."""
        return 1000 * self.batch / self.milliseconds


def measure(
    model: str, load: Callable[[int], Runner], inputs: NDArray[np.generic], check_stop: Callable[[], None]
) -> list[Timing]:
    """`load` gives the model that runs on a number of threads; `inputs` [N, ...] are repeated as often as needed."""
    before, timings = torch.get_num_threads(), []
    try:
        for threads in sorted({1, cpus()}):
            runner = load(threads)
            for batch in BATCHES:
                images = np.resize(inputs, (batch, *inputs.shape[1:]))
                timings.append(Timing(model, threads, batch, *_median(runner, images, check_stop)))
    finally:
        torch.set_num_threads(before)
    return timings


def _median(runner: Runner, images: NDArray[np.generic], check_stop: Callable[[], None]) -> tuple[float, int]:
    """Milliseconds, and how often it ran; the first time, which sets things up, does not count."""
    runner(images)
    seconds: list[float] = []
    while len(seconds) < 3 or (sum(seconds) < _SECONDS and len(seconds) < _RUNS):
        check_stop()
        start = perf_counter()
        runner(images)
        seconds.append(perf_counter() - start)
    return 1000 * statistics.median(seconds), len(seconds)
