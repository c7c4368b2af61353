"""A teacher for the students of these tests."""

from __future__ import annotations

import pytest

from tests.conftest import TINY
from tests.runs.distill.taught import Command


@pytest.fixture
def teacher(command: Command) -> str:
    """A run directory whose network has seen one epoch."""
    assert command(*TINY, "name=teacher", "trainer.epochs=1", "seed=7").code == 0
    return "strategy.teacher.weights=outputs/runs/teacher"
