"""Precision: the clear winner is chosen, measured once, and not by what else the machine does."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import torch

from transfer_cli.engine import precision
from transfer_cli.engine.precision import PrecisionMemory, choose_precision
from transfer_cli.models import backbones
from transfer_cli.strategies.base import StepResult
from transfer_cli.strategies.finetune import Finetune

CPU = torch.device("cpu")


@pytest.fixture
def strategy() -> Finetune:
    return Finetune(backbones.build("test_resnet", "timm", 3, 32), "all", 0.0)


@pytest.mark.parametrize(("fp32", "bf16", "best"), [(3.0, 1.0, "bf16"), (1.1, 1.0, "fp32"), (1.0, 2.0, "fp32")])
def test_bf16_must_win_clearly(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, strategy: Finetune, fp32: float, bf16: float, best: str
) -> None:
    monkeypatch.setattr(precision, "_cpu_has_bf16", lambda: True)
    monkeypatch.setattr(precision, "_measure", lambda *_: {"fp32": fp32, "bf16": bf16})
    memory = PrecisionMemory(tmp_path)
    assert choose_precision("auto", CPU, strategy, 32, memory)[0] == best
    monkeypatch.setattr(precision, "_measure", lambda *_: pytest.fail("measured again"))
    assert choose_precision("auto", CPU, strategy, 32, memory)[0] == best
    assert (memory.hits, memory.misses) == (1, 1)


def test_measuring_leaves_no_trace(strategy: Finetune) -> None:
    before = {name: tensor.clone() for name, tensor in strategy.network.state_dict().items()}
    generator, threads = torch.get_rng_state(), torch.get_num_threads()
    precision._measure(strategy, 32)
    assert all(torch.equal(before[name], tensor) for name, tensor in strategy.network.state_dict().items())
    assert all(parameter.grad is None for parameter in strategy.network.parameters())
    assert torch.equal(torch.get_rng_state(), generator)
    assert torch.get_num_threads() == threads


def test_waiting_for_a_busy_machine_is_not_counted(monkeypatch: pytest.MonkeyPatch, strategy: Finetune) -> None:
    step = strategy.step

    def held_up(inputs: torch.Tensor, labels: torch.Tensor) -> StepResult:
        if not torch.is_autocast_enabled("cpu"):
            time.sleep(0.5)
        return step(inputs, labels)

    monkeypatch.setattr(strategy, "step", held_up)
    assert precision._measure(strategy, 32)["fp32"] < 0.4
