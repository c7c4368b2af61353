"""Early stopping and plateaus, by hand and against torch's own scheduler."""

from __future__ import annotations

import math
import random

import pytest
import torch

from transfer_cli.engine.schedule import plateaus, should_stop, stale_epochs

HISTORY = [0.5, 0.7, 0.69, 0.7, 0.71, 0.6, 0.7, 0.71]


def test_stale_epochs_since_the_best() -> None:
    assert [stale_epochs(HISTORY[:n]) for n in range(9)] == [0, 0, 0, 1, 2, 0, 1, 2, 3]


def test_stops_after_patience() -> None:
    assert [should_stop(HISTORY[:n], patience=3) for n in range(9)] == [False] * 8 + [True]
    assert should_stop(HISTORY[:3], patience=1)
    assert not should_stop([], patience=1)


def test_small_gains_do_not_count() -> None:
    slow = [0.50, 0.51, 0.52, 0.53, 0.54]
    assert stale_epochs(slow, min_delta=0.015) == 0  # 0.52 and 0.54 beat 0.50 and 0.52
    assert stale_epochs(slow, min_delta=0.1) == 4


def test_a_score_that_is_not_a_number_never_improves() -> None:
    assert stale_epochs([math.nan, math.nan]) == 2
    assert stale_epochs([math.nan, 0.1]) == 0


def test_an_equal_score_is_no_improvement() -> None:
    assert stale_epochs([0.5, 0.5]) == 1
    assert plateaus([0.5, 0.5, 0.5], patience=2) == 1


@pytest.mark.parametrize("patience", [1, 2, 5])
@pytest.mark.parametrize("min_delta", [0.0, 0.05])
def test_plateaus_are_those_of_reduce_lr_on_plateau(patience: int, min_delta: float) -> None:
    """Torch counts one epoch more before it acts."""
    generator = random.Random(0)
    history = [generator.random() * 0.2 + epoch * 0.004 for epoch in range(60)]
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    theirs = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer, mode="max", factor=0.5, patience=patience - 1, threshold=min_delta, threshold_mode="abs", eps=0
    )
    for epoch, score in enumerate(history, 1):
        theirs.step(score)
        assert 0.5 ** plateaus(history[:epoch], patience, min_delta) == optimizer.param_groups[0]["lr"]
