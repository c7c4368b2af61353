"""Whole runs on a GPU, where one is there."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.conftest import TINY, Ended, summary

pytestmark = pytest.mark.gpu

Command = Callable[..., Ended]
RUNS = Path("outputs/runs")
ON_GPU = [word for word in TINY if not word.startswith(("trainer.device", "trainer.precision"))] + [
    "trainer.device=cuda"
]


@pytest.mark.parametrize("model", ["test_resnet", "test_vit", "test_convnext"])
@pytest.mark.parametrize("words", [[], ["trainer.precision=bf16", "augment=standard", "strategy.ema=0.9"]])
def test_in_order_the_same_command_gives_the_same_bytes(command: Command, model: str, words: list[str]) -> None:
    for name in ("one", "two"):
        ended = command(*ON_GPU, f"model.name={model}", f"name={name}", "trainer.deterministic=true", *words)
        assert ended.code == 0, ended.err
    for file in ("model.safetensors", "metrics.jsonl", "predictions.csv"):
        assert (RUNS / "one" / file).read_bytes() == (RUNS / "two" / file).read_bytes()


@pytest.mark.parametrize("precision", ["fp32", "tf32", "bf16", "fp16"])
def test_each_precision_trains(command: Command, precision: str) -> None:
    assert command(*ON_GPU, "name=run", f"trainer.precision={precision}").code == 0
    assert summary(RUNS / "run")["precision"] == precision


def test_a_step_that_has_no_room_goes_on_in_parts(command: Command) -> None:
    gibibyte = 2**30 / torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction(0.8 * gibibyte)
    try:
        words = ["model.name=resnet18", "model.source=torchvision", "image_size=224", "trainer.batch_size=60"]
        ended = command(
            *ON_GPU, "name=run", *words, "dataset.samples=120", "trainer.precision=fp32", "trainer.epochs=1"
        )
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert ended.code == 0, ended.err
    assert "out of memory: going on with" in ended.out


def test_as_many_images_as_there_is_room_for(command: Command) -> None:
    words = ["trainer.batch_size=auto", "dataset.samples=4000", "trainer.epochs=1"]
    ended = command(*[word for word in ON_GPU if "batch_size" not in word], "name=run", *words)
    assert ended.code == 0 and "auto      trainer.batch_size=128: it fits" in ended.out


def test_the_record_names_the_gpu(command: Command) -> None:
    assert command(*ON_GPU, "name=run", "trainer.epochs=1", "trainer.profile=true").code == 0
    gpu = json.loads((RUNS / "run" / "environment.json").read_text())["gpu"]
    assert gpu["name"] and gpu["cuda"] == torch.version.cuda and gpu["uuid"].startswith("GPU-")
    assert "synchronisations a step" in (RUNS / "run" / "profile" / "summary.txt").read_text()


def test_a_gpu_ends_where_the_cpu_does_to_rounding(command: Command) -> None:
    words = ["trainer.precision=fp32", "model.name=test_convnext", "optimizer=sgd", "optimizer.lr=0.001"]
    for name, device in (("gpu", "cuda"), ("cpu", "cpu")):
        assert command(*TINY, *words, f"name={name}", f"trainer.device={device}").code == 0
    found, expected = (summary(RUNS / name)["val"]["loss"] for name in ("gpu", "cpu"))
    assert found == pytest.approx(expected, rel=1e-3)


def test_what_is_not_finite_is_named_where_it_was(command: Command) -> None:
    ended = command(*ON_GPU, "name=wild", "optimizer.lr=1e30", "trainer.epochs=3", "trainer.precision=fp32")
    assert ended.code == 3 and "not finite at step 2 (epoch 1)" in ended.err
    assert not (RUNS / "wild" / "model.safetensors").exists()
