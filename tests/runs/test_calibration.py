"""Calibration changes how sure a model is and nothing else, and leaves heads alone that it cannot scale."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import TINY, Ended
from transfer_cli.engine.stop import Stop
from transfer_cli.records.terminal import Reporter
from transfer_cli.runs.calibration import calibrate

Command = Callable[..., Ended]
RUN = Path("outputs/runs/run")
QUIET = Reporter(quiet=True)


@pytest.mark.parametrize(
    "words", [["strategy=finetune"], ["strategy=extract", "augment=none", "strategy.solver=lbfgs"]]
)
def test_a_linear_head_is_divided_by_the_temperature(command: Command, words: list[str]) -> None:
    assert command(*TINY, "name=run", "dataset.samples=200", *words).code == 0
    found = calibrate(RUN, QUIET, Stop())
    assert found is not None and found.after <= found.before
    again = calibrate(RUN, QUIET, Stop())
    assert again is not None
    assert again.before == pytest.approx(found.after, abs=1e-3)


@pytest.mark.parametrize("head", ["mlp", "cosine"])
def test_another_head_is_left_as_it_is(command: Command, head: str) -> None:
    words = ["strategy=extract", "augment=none", f"strategy.head={head}"]
    if head == "cosine":
        words = ["strategy=extract", "augment=none", "strategy.solver=ncm"]
    assert command(*TINY, "name=run", *words).code == 0
    before = (RUN / "model.safetensors").read_bytes()
    assert calibrate(RUN, QUIET, Stop()) is None
    assert (RUN / "model.safetensors").read_bytes() == before
