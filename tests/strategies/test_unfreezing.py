"""Gradual unfreezing from the head down, as a function of the epoch."""

from __future__ import annotations

import pytest

from transfer_cli.strategies.trainable import boundary_at, thaw_epoch


def test_one_more_stage_each_epoch() -> None:
    assert [boundary_at(epoch, 5, every=1) for epoch in range(7)] == [4, 3, 2, 1, 0, 0, 0]


def test_slower_and_not_to_the_bottom() -> None:
    assert [boundary_at(epoch, 5, every=2, lowest=3) for epoch in range(6)] == [4, 4, 3, 3, 3, 3]


@pytest.mark.parametrize(("every", "lowest"), [(1, 0), (3, 2)])
def test_a_stage_trains_from_its_thaw_on(every: int, lowest: int) -> None:
    for stage in range(6):
        thaws = thaw_epoch(stage, 6, every=every, lowest=lowest)
        for epoch in range(30):
            trains = boundary_at(epoch, 6, every=every, lowest=lowest) <= stage
            assert trains == (thaws is not None and epoch >= thaws)
