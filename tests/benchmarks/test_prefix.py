"""What a frozen prefix saves: images a second, whole runs, memory; each against the same run without, in turns.

Seconds are of one thread's own work, which other programs on the machine hardly change.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import experiment, start, summary
from transfer_cli.engine.loop import Cursor, train_epoch
from transfer_cli.engine.stop import Stop
from transfer_cli.engine.totals import Totals
from transfer_cli.records.events import Recorders
from transfer_cli.records.terminal import Reporter
from transfer_cli.runs.finetune import job as finetune
from transfer_cli.runs.loop_job import LoopJob

pytestmark = [pytest.mark.bench, pytest.mark.usefixtures("one_thread")]

TURNS, BATCH = 3, 32
COMMON = [
    "model.weights=none",
    "dataset=fake",
    "dataset.num_classes=4",
    "dataset.samples=128",
    "image_size=128",
    "augment=none",
    f"trainer.batch_size={BATCH}",
    "trainer.precision=fp32",
]
QUIET = Reporter(quiet=True, prints_result=False)


def job(*words: str) -> LoopJob:
    return finetune.prepare(experiment(*COMMON, *words), QUIET, Stop(), None)


def epochs(*words: str) -> Callable[[int], int]:
    """An epoch of training; the cache is filled before."""
    one = job(*words)
    trainer = one.build_trainer(one.begin(None, QUIET, Stop()).strategy, lambda step: 1e-4, None, QUIET)
    batches = one.inputs.shuffled(BATCH)

    def run(epoch: int) -> int:
        totals = Totals.zeros(one.materials.task, one.compute.device)
        return sum(train_epoch(trainer, batches.epoch(epoch), Cursor(epoch=epoch), totals))

    return run


def speeds(*runs: Callable[[int], int]) -> list[float]:
    """Median images a second of each, measured in turns after a warm-up."""
    measured: list[list[float]] = [[] for _ in runs]
    for turn in range(TURNS + 1):
        for run, results in zip(runs, measured, strict=True):
            started = time.process_time()
            results.append(run(turn) / (time.process_time() - started))
    return [statistics.median(results[1:]) for results in measured]


@pytest.mark.parametrize("model", ["resnet18", "resnet50"])
def test_the_last_stage_of_a_resnet(model: str) -> None:
    words = [f"model.name={model}", "strategy.unfreeze=1"]
    cached, live, full = speeds(
        epochs(*words, "strategy.cache=true"), epochs(*words, "strategy.cache=false"), epochs(f"model.name={model}")
    )
    print(
        f"\n{model}, 128 px, last stage: cached {cached:.0f} images/s, {cached / live:.2f} times the cache off "
        f"({live:.0f}), {cached / full:.2f} times full finetuning ({full:.0f})"
    )
    assert cached > 2.0 * live
    assert cached > 3.3 * full


def test_the_two_top_stages_of_efficientnet() -> None:
    words = ["model.name=efficientnet_lite0", "strategy.unfreeze=2"]
    cached, live = speeds(epochs(*words, "strategy.cache=true"), epochs(*words, "strategy.cache=false"))
    print(
        f"\nefficientnet_lite0, 128 px, two stages: cached {cached:.0f} images/s, {cached / live:.2f} times {live:.0f}"
    )
    assert cached > 4.0 * live


def test_a_run_of_ten_epochs_that_fills_the_cache(tmp_path: Path) -> None:
    seconds: dict[str, list[float]] = {"true": [], "false": []}
    for turn in range(2):
        for cache, times in seconds.items():
            one = job(
                *("model.name=resnet18", "strategy.unfreeze=1", "trainer.epochs=10", f"strategy.cache={cache}"),
                f"cache_dir={tmp_path}/cache{turn}",
            )
            directory = tmp_path / f"{cache}{turn}"
            directory.mkdir()
            started = time.process_time()
            one.run(directory, Recorders([]), QUIET, Stop())
            times.append(time.process_time() - started)
    cached, live = (statistics.median(times) for times in seconds.values())
    print(
        f"\nresnet18, ten epochs with filling: {cached:.1f} s cached, {live:.1f} s without, {live / cached:.2f} times"
    )
    assert live > 1.7 * cached


def test_nothing_is_kept_for_the_frozen_part() -> None:
    peaks = {}
    for name, words in {"last stage": ["strategy.unfreeze=1", "strategy.cache=false"], "full": []}.items():
        run = f"memory_{name.split()[0]}"
        process = start(*COMMON, "model.name=resnet50", "trainer.epochs=1", f"name={run}", *words)
        out, err = process.communicate(timeout=600)
        assert process.returncode == 0, out + err
        peaks[name] = summary(f"outputs/runs/{run}")["peak_memory_bytes"] / 2**20
    print(
        f"\nresnet50, 128 px, batches of {BATCH}: peak memory {peaks['last stage']:.0f} MiB, full {peaks['full']:.0f}"
    )
    assert peaks["last stage"] < 0.75 * peaks["full"]
