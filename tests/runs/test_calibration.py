"""Calibration changes how sure a model is and nothing else, and leaves heads alone that it cannot scale."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from tests.conftest import TINY, Ended, with_classes
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
    turned = shutil.copytree(RUN, RUN.with_name("turned"))
    turn_classes(turned)
    found = calibrate(RUN, QUIET, Stop())
    assert found is not None and found.after <= found.before
    again = calibrate(RUN, QUIET, Stop())
    assert again is not None and not again.changed
    assert again.before == pytest.approx(found.after, abs=1e-3)
    assert again.temperature == pytest.approx(found.temperature), "that of the head as it was trained"
    by_name = calibrate(turned, QUIET, Stop())
    assert by_name is not None and by_name.temperature == pytest.approx(found.temperature, rel=1e-3)


def turn_classes(run: Path) -> None:
    """The same model, its classes in reverse order."""
    tensors = load_file(run / "model.safetensors")
    heads = {name: np.ascontiguousarray(tensors[name][::-1]) for name in ("fc.weight", "fc.bias")}
    save_file({**tensors, **heads}, run / "model.safetensors")
    with_classes(run, "class_2", "class_1", "class_0")


@pytest.mark.parametrize("head", ["mlp", "cosine"])
def test_another_head_is_left_as_it_is(command: Command, head: str) -> None:
    words = ["strategy=extract", "augment=none", f"strategy.head={head}"]
    if head == "cosine":
        words = ["strategy=extract", "augment=none", "strategy.solver=ncm"]
    assert command(*TINY, "name=run", *words).code == 0
    before = (RUN / "model.safetensors").read_bytes()
    assert calibrate(RUN, QUIET, Stop()) is None
    assert (RUN / "model.safetensors").read_bytes() == before
