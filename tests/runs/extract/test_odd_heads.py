"""Networks that do not classify with one plain linear layer: what a run reports is what its model gives afterwards."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.conftest import TINY, Ended, summary
from tests.models.test_composing import shake
from transfer_cli.models import backbones
from transfer_cli.models.tensors import write_tensors

Command = Callable[..., Ended]
LP_FT = ["strategy.head_init=probe", "strategy.unfreeze=1", "trainer.epochs=1"]
DELTA = ["strategy.delta.weight=0.1", "trainer.epochs=1"]
RUNS = [
    ("shvit_s1", 32, ["strategy=extract"]),
    pytest.param("shvit_s1", 32, LP_FT, marks=pytest.mark.slow),
    ("resnetv2_18", 32, ["strategy=extract"]),
    ("resnetv2_18", 32, LP_FT),
    pytest.param("resnetv2_18", 32, DELTA, marks=pytest.mark.slow),
    ("repvit_m1", 32, ["strategy=extract"]),
    ("deit_tiny_distilled_patch16_224", 32, LP_FT),
    pytest.param(
        "deit_tiny_distilled_patch16_224",
        32,
        ["strategy.head_init=zero", "trainer.epochs=1"],
        marks=pytest.mark.slow,
    ),
]


@pytest.mark.parametrize(("name", "size", "words"), RUNS)
def test_a_run_is_evaluated_as_it_was_reported(command: Command, name: str, size: int, words: list[str]) -> None:
    network = backbones.build(name, "timm", 3, size)
    shake(network.module)
    write_tensors(Path("weights.safetensors"), network.module.state_dict())
    model = [f"model.name={name}", f"image_size={size}", "model.weights=weights.safetensors", "trainer.batch_size=8"]
    # The file's own head is for three classes, these are four.
    ended = command(*TINY, *model, "dataset.num_classes=4", *words, "name=odd")
    assert ended.code == 0, ended.err
    found = summary("outputs/runs/odd")["test"]
    assert command("mode=evaluate", "run=outputs/runs/odd", "trainer.device=cpu").code == 0
    report = json.loads(Path("outputs/runs/odd/evaluation.json").read_text())
    assert {key: report[key] for key in ("accuracy", "top5_accuracy")} == {
        key: found[key] for key in ("accuracy", "top5_accuracy")
    }
    assert report["loss"] == pytest.approx(found["loss"], rel=1e-4)


def test_a_network_with_tied_tensors_is_saved(command: Command) -> None:
    torch.manual_seed(0)
    model = ["model.name=coat_tiny", "image_size=64", "trainer.epochs=1", "strategy.unfreeze=head"]
    ended = command(*TINY, *model, "dataset.samples=24", "name=tied")
    assert ended.code == 0, ended.err
    assert command("mode=evaluate", "run=outputs/runs/tied", "trainer.device=cpu").code == 0
