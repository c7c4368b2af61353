"""What is remembered of a training's speed."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from transfer_cli.engine.measured.speed import SpeedMemory
from transfer_cli.engine.ranks.world import ALONE
from transfer_cli.runs import pace


@pytest.mark.parametrize(("steps", "remembered"), [(9, False), (10, True), (25, True)])
def test_less_than_an_epoch_is_no_measure(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, steps: int, remembered: bool
) -> None:
    """Of a run that was stopped before its last steps and goes on, evaluation takes most of the time."""
    cursor = SimpleNamespace(step=40)
    fit: Any = SimpleNamespace(
        progress=SimpleNamespace(images=640, cursor=cursor), batches=SimpleNamespace(steps_per_epoch=10)
    )
    materials = cast(Any, SimpleNamespace(machine=SimpleNamespace(speeds=SpeedMemory(tmp_path))))
    monkeypatch.setattr(pace, "_work", lambda *_: {"model": "a"})
    with pace.remembered(materials, fit, ALONE):
        cursor.step += steps
        fit.progress.images += 16 * steps
    assert (pace.known(materials, fit, ALONE) is not None) is remembered
