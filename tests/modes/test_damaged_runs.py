"""Run directories that were cut, edited or mixed up: one message, and never the answer of another network."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import TINY, Ended

Command = Callable[..., Ended]


@pytest.fixture
def run(command: Command) -> Path:
    assert command(*TINY, "name=tiny", "trainer.epochs=1").code == 0
    return Path("outputs/runs/tiny")


def edit(file: Path, change: Callable[[dict[str, Any]], object]) -> None:
    values = json.loads(file.read_text())
    change(values)
    file.write_text(json.dumps(values))


def in_use(run: Path) -> list[list[str]]:
    """Commands that use the model of a run."""
    image = next((run / "plots").glob("*.png"))
    return [
        ["mode=predict", f"run={run}", f"input={image}", "trainer.device=cpu"],
        ["mode=evaluate", f"run={run}", "trainer.device=cpu"],
        ["mode=calibrate", f"run={run}"],
        ["mode=explain", f"run={run}", f"input={image}", "trainer.device=cpu"],
        ["mode=export", f"run={run}", "format=safetensors", "export.latency=false"],
        [*TINY, "strategy=distill", f"strategy.teacher.weights={run}", "name=student", "trainer.epochs=1"],
    ]


def refused(ended: Ended, *words: str) -> None:
    assert ended.code == 2, ended.out + ended.err
    assert "Traceback" not in ended.err
    for word in words:
        assert word in ended.err


def test_a_head_that_the_weights_do_not_hold_is_not_drawn_at_random(command: Command, run: Path) -> None:
    four = ["class_0", "class_1", "class_2", "class_3"]
    edit(run / "model.json", lambda about: about.update(classes=four))
    for words in in_use(run):
        refused(command(*words), str(run), "another head")
    edit(run / "model.json", lambda about: about.update(classes=four[:3]))
    assert command(*in_use(run)[0]).code == 0
    edit(run / "model.json", lambda about: about["head"].update(kind="probe", width=64))
    for words in in_use(run):
        refused(command(*words), str(run), "another head")


HUGE = 10**400
WRONG: dict[str, Callable[[dict[str, Any]], object]] = {
    "mean of another kind": lambda about: about["preprocessing"].update(mean=[float("nan")] * 3),
    "deviation of another kind": lambda about: about["preprocessing"].update(std=[float("nan")] * 3),
    "deviation without end": lambda about: about["preprocessing"].update(std=[float("inf")] * 3),
    "deviation of nearly nothing": lambda about: about["preprocessing"].update(std=[1e-308] * 3),
    "a mean of 400 digits": lambda about: about["preprocessing"].update(mean=[HUGE] * 3),
    "pixels without end": lambda about: about["preprocessing"].update(crop_pixels=float("inf")),
    "a head without end": lambda about: about["head"].update(width=float("inf")),
    "classes as one text": lambda about: about.update(classes="abc"),
    "classes as a mapping": lambda about: about.update(classes={"a": 1, "b": 2, "c": 3}),
    "classes without names": lambda about: about.update(classes=[None, 1, 2]),
    "no classes": lambda about: about.update(classes=[]),
    "a precision that is none": lambda about: about.update(precision="fp12"),
}


def test_a_description_that_no_run_leaves(command: Command, run: Path) -> None:
    whole = (run / "model.json").read_text()
    for name, change in WRONG.items():
        edit(run / "model.json", change)
        for words in in_use(run)[:2]:
            assert "model.json is damaged" in command(*words).err, name
            refused(command(*words))
        (run / "model.json").write_text(whole)
