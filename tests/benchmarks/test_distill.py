"""What keeping a teacher's answers saves: whole runs of ten epochs over one view, kept and live, in turns."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from tests.conftest import Ended, summary
from transfer_cli.models import backbones

pytestmark = [pytest.mark.bench, pytest.mark.usefixtures("one_thread")]

STUDENT, TEACHER = "resnet10t", "resnet101"
SIZE, EPOCHS, TURNS = 64, 10, 3
COMMON = [
    *(f"model.name={STUDENT}", "model.source=timm", "model.weights=none", f"image_size={SIZE}"),
    *("dataset=fake", "dataset.num_classes=4", "dataset.samples=160"),
    *("augment=light", "augment.views=1", f"trainer.epochs={EPOCHS}", "trainer.precision=fp32"),
]
TAUGHT = [
    *(
        "strategy=distill",
        "strategy.use_teacher=true",
        f"strategy.teacher.model={TEACHER}",
        "strategy.teacher.weights=none",
    ),
    "strategy.teacher.allow_chance=true",
]
RUNS = {
    "kept": [*COMMON, *TAUGHT],
    "live": [*COMMON, *TAUGHT, "strategy.teacher.cache=false"],
    "alone": COMMON,
}


def flops(name: str) -> int:
    """Of one image forward."""
    network = backbones.build(name, "auto", 4, SIZE).eval()
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        network(torch.zeros(1, 3, SIZE, SIZE))
    return int(counter.get_total_flops())


def measured(command: Callable[..., Ended], name: str, words: list[str]) -> tuple[float, dict[str, Any]]:
    """Seconds of a whole run that finds no answers kept, and its summary."""
    started = time.perf_counter()
    ended = command(*words, f"name={name}", f"cache_dir=cache-{name}")
    seconds = time.perf_counter() - started
    assert ended.code == 0, ended.err
    return seconds, summary(Path("outputs/runs") / name)


def test_kept_answers_make_teaching_as_cheap_as_training(command: Callable[..., Ended]) -> None:
    ratio = flops(TEACHER) / flops(STUDENT)
    assert ratio >= 4
    seconds: dict[str, list[float]] = {kind: [] for kind in RUNS}
    epochs: dict[str, list[float]] = {kind: [] for kind in RUNS}
    measured(command, "warm-up", [*COMMON, "trainer.epochs=1"])
    for turn in range(TURNS):
        for kind, words in RUNS.items():
            took, result = measured(command, f"{kind}-{turn}", words)
            seconds[kind].append(took)
            epochs[kind].append(result["train_seconds"] / EPOCHS)
    run = {kind: statistics.median(values) for kind, values in seconds.items()}
    epoch = {kind: statistics.median(values) for kind, values in epochs.items()}
    print(
        f"\nteacher of {ratio:.1f} times the student's compute. Runs: kept {run['kept']:.1f} s, live "
        f"{run['live']:.1f} s, ratio {run['live'] / run['kept']:.2f}. Epochs: kept {epoch['kept']:.2f} s, finetuning "
        f"{epoch['alone']:.2f} s, ratio {epoch['kept'] / epoch['alone']:.3f}"
    )
    assert run["live"] >= 1.6 * run["kept"]
    assert epoch["kept"] <= 1.1 * epoch["alone"]
