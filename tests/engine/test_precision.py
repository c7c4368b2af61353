"""Precision: chosen by rule, refuted by a wide margin alone, and not by what else the machine does."""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.strategies.networks import finetune, tiny
from transfer_cli.data.batches import Batch
from transfer_cli.engine import precision
from transfer_cli.engine.precision import Looked, PrecisionMemory, by_rule, choose_precision, time_training
from transfer_cli.engine.strategy import StepResult
from transfer_cli.models import backbones
from transfer_cli.strategies.finetune import Finetune

CPU = torch.device("cpu")


WORK = {"work": "nothing"}


@pytest.fixture
def strategy() -> Finetune:
    return finetune(tiny())


@pytest.fixture
def both(monkeypatch: pytest.MonkeyPatch) -> None:
    """A CPU that has both precisions."""
    monkeypatch.setattr(precision, "_cpu_has_bf16", lambda: True)


@pytest.mark.parametrize("rule", ["fp32", "bf16"])
@pytest.mark.parametrize(
    ("fp32", "bf16", "refutes"), [(2.9, 1.0, None), (1.0, 2.9, None), (3.1, 1.0, "bf16"), (1.0, 3.1, "fp32")]
)
@pytest.mark.usefixtures("both")
def test_only_a_wide_margin_refutes_the_rule(
    tmp_path: Path, rule: str, fp32: float, bf16: float, refutes: str | None
) -> None:
    memory, found = PrecisionMemory(tmp_path), Looked(rule, "a reason", {"fp32": fp32, "bf16": bf16})
    best = rule if refutes is None else refutes
    assert choose_precision("auto", CPU, memory, WORK, lambda: found)[0] == best
    assert choose_precision("auto", CPU, memory, WORK, lambda: pytest.fail("measured again"))[0] == best
    assert (memory.hits, memory.misses) == (1, 1)


@pytest.mark.usefixtures("both")
def test_noise_does_not_choose(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, strategy: Finetune) -> None:
    """Ten times with an empty cache, on a machine whose timings are off by half either way."""
    random = np.random.default_rng(0)
    monkeypatch.setattr(
        precision, "_time", lambda work: {name: float(random.uniform(0.7, 1.4)) for name in ("fp32", "bf16")}
    )
    chosen = {
        choose_precision("auto", CPU, PrecisionMemory(tmp_path / str(n)), WORK, lambda: time_training(strategy, 32, 0))
        for n in range(10)
    }
    assert chosen == {("fp32", "precision fp32 (by rule: a small network)")}


@pytest.mark.usefixtures("both")
def test_what_an_earlier_version_remembers_is_looked_at_again(tmp_path: Path) -> None:
    found = Looked("bf16", "a reason", {"fp32": 1.0, "bf16": 1.0})
    choose_precision("auto", CPU, PrecisionMemory(tmp_path), WORK, lambda: found)
    (file,) = tmp_path.iterdir()
    file.write_text(json.dumps({"seconds": {"fp32": 1.0, "bf16": 9.0}}))
    assert choose_precision("auto", CPU, PrecisionMemory(tmp_path), WORK, lambda: found)[0] == "bf16"


@pytest.mark.parametrize(
    ("name", "training", "inference", "with_amx"),
    [
        ("resnet18", "bf16", "bf16", "bf16"),
        ("efficientnet_lite0", "fp32", "bf16", "fp32"),
        ("vit_small_patch32_224", "bf16", "bf16", "bf16"),
        ("test_resnet", "fp32", "fp32", "fp32"),
    ],
)
def test_the_rule_goes_by_family_and_cpu(
    monkeypatch: pytest.MonkeyPatch, name: str, training: str, inference: str, with_amx: str
) -> None:
    for classes in (2, 1000):
        network = backbones.build(name, "auto", classes, 224)
        monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
        assert by_rule(network, training=True)[0] == training
        assert by_rule(network, training=False)[0] == inference
        monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: True)
        assert by_rule(network, training=False)[0] == with_amx


def test_measuring_leaves_no_trace(strategy: Finetune) -> None:
    before = {name: tensor.clone() for name, tensor in strategy.network.state_dict().items()}
    generator, threads = torch.get_rng_state(), torch.get_num_threads()
    time_training(strategy, 32, 0)
    assert all(torch.equal(before[name], tensor) for name, tensor in strategy.network.state_dict().items())
    assert all(parameter.grad is None for parameter in strategy.network.parameters())
    assert torch.equal(torch.get_rng_state(), generator)
    assert torch.get_num_threads() == threads


def test_waiting_for_a_busy_machine_is_not_counted(monkeypatch: pytest.MonkeyPatch, strategy: Finetune) -> None:
    forward = strategy.forward

    def held_up(batch: Batch) -> StepResult:
        if not torch.is_autocast_enabled("cpu"):
            time.sleep(0.5)
        return forward(batch)

    monkeypatch.setattr(strategy, "forward", held_up)
    assert time_training(strategy, 32, 0).seconds["fp32"] < 0.4
