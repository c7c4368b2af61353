"""Trainers for tests: on the CPU, of a few classes, with what each test asks for."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from transfer_cli.engine.devices.device import Compute
from transfer_cli.engine.loop import Trainer
from transfer_cli.engine.ranks.parallel import Parallel
from transfer_cli.engine.ranks.world import ALONE
from transfer_cli.engine.task import Classification

CPU = torch.device("cpu")
TASK = Classification(("a", "b", "c"))


def trainer_of(
    strategy: Any, optimizer: torch.optim.Optimizer, *, guarded: bool = False, scaled: bool = False, **more: Any
) -> Trainer:
    """`guarded`: as on a GPU, which checks its own steps; `more`: other fields than those of a plain training."""
    words: dict[str, Any] = {
        "forward": Parallel(ALONE, strategy, strategy),
        "micro_batch": 6,
        "clip_grad": None,
        "warn": pytest.fail,
        **more,
    }
    made = Trainer(
        strategy=strategy,
        optimizer=optimizer,
        scaler=torch.amp.GradScaler("cpu", enabled=scaled),
        compute=Compute(CPU, "fp32"),
        to_device=lambda batch: batch,
        rate=lambda step: 0.01,
        **words,
    )
    assert made.guarded is None
    made.guarded = made.guard() if guarded else None
    return made
