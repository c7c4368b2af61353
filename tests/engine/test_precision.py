"""Precision: the clear winner is chosen, measured once, and not by what else the machine does."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import torch

from tests.strategies.networks import finetune, tiny
from transfer_cli.data.batches import Batch
from transfer_cli.engine import precision
from transfer_cli.engine.precision import PrecisionMemory, choose_precision, time_training
from transfer_cli.engine.strategy import StepResult
from transfer_cli.strategies.finetune import Finetune

CPU = torch.device("cpu")


WORK = {"work": "nothing"}


@pytest.fixture
def strategy() -> Finetune:
    return finetune(tiny())


@pytest.mark.parametrize(("fp32", "bf16", "best"), [(3.0, 1.0, "bf16"), (1.1, 1.0, "fp32"), (1.0, 2.0, "fp32")])
def test_bf16_must_win_clearly(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, fp32: float, bf16: float, best: str
) -> None:
    monkeypatch.setattr(precision, "_cpu_has_bf16", lambda: True)
    memory = PrecisionMemory(tmp_path)
    assert choose_precision("auto", CPU, memory, WORK, lambda: {"fp32": fp32, "bf16": bf16})[0] == best
    assert choose_precision("auto", CPU, memory, WORK, lambda: pytest.fail("measured again"))[0] == best
    assert (memory.hits, memory.misses) == (1, 1)


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
    assert time_training(strategy, 32, 0)["fp32"] < 0.4
