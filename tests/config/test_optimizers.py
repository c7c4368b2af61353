"""Optimizer and scheduler options: limits, and what a wrong value is told."""

from __future__ import annotations

import pytest

from tests.conftest import experiment
from transfer_cli.config.optimizers import Muon, Restarts
from transfer_cli.errors import UserError


def test_options_are_typed() -> None:
    one = experiment("optimizer=muon", "optimizer.momentum=0.9", "scheduler=restarts", "scheduler.cycles=4")
    assert isinstance(one.optimizer, Muon) and one.optimizer.momentum == 0.9
    assert isinstance(one.scheduler, Restarts) and one.scheduler.cycles == 4


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["scheduler.warmup=2.5"], r"scheduler\.warmup=2\.5: a fraction of the run \(0 to 1\) or a whole number"),
        (["scheduler=step", "scheduler.every=1.5"], r"scheduler\.every=1\.5: a fraction of the run"),
        (["scheduler=step", "scheduler.factor=0"], r"scheduler\.factor=0: expected a number more than 0"),
        (["scheduler=restarts", "scheduler.growth=0.5"], r"scheduler\.growth=0\.5: expected a number from 1"),
        (["scheduler=plateau", "scheduler.patience=0"], r"scheduler\.patience=0: expected a whole number 1 or more"),
        (["scheduler.name=cosin"], r"scheduler\.name=cosin: expected one of .*Did you mean cosine"),
        (["optimizer.betas=[0.9,1.0]"], r"optimizer\.betas="),
        (["optimizer=rmsprop", "optimizer.alpha=1.0"], r"optimizer\.alpha=1\.0: expected a number from 0 to 0\.9999"),
        (["optimizer=muon", "optimizer.momentum=0"], r"optimizer\.nesterov=true: Nesterov momentum needs"),
    ],
)
def test_a_wrong_value_is_named(words: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        experiment(*words)
