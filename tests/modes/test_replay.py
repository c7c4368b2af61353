"""A step that diverged, and the same step once more with every module watched."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import TINY, Ended

Command = Callable[..., Ended]
RUN = Path("outputs/runs/run")
WORDS = [*TINY, "tune=off", "strategy.batch_norm=train", "trainer.epochs=4"]


@pytest.fixture(params=["1 steps", "auto"])
def diverged(command: Command, request: pytest.FixtureRequest) -> str:
    often = f"trainer.checkpoint_every={request.param}"
    ended = command(*WORDS, often, "optimizer=sgd", "optimizer.lr=1e5", "scheduler=constant", "name=run")
    assert ended.code == 3
    return ended.err


def test_the_step_is_repeated_from_the_last_state(command: Command, diverged: str) -> None:
    assert f"mode=replay run={RUN}" in diverged
    step = json.loads((RUN / "diverged.json").read_text())
    assert f"step {step['step']} (epoch {step['epoch']})" in diverged
    assert len(step["images"]) == len(step["indices"]) in (10, 16)
    assert step["images"] == [f"fake/{index}" for index in step["indices"]]
    before = {path: path.stat().st_mtime_ns for path in RUN.rglob("*") if path.is_file()}
    ended = command("mode=replay", f"run={RUN}")
    assert ended.code == 0, ended.err
    found = json.loads((RUN / "replay.json").read_text())
    assert found["diverged_again"] is True
    assert found["step"] == step["step"]
    assert found["outputs_not_finite_first_in"] or found["gradients_not_finite"]
    if (RUN / "checkpoints").is_dir():
        assert f"resuming at epoch {step['epoch']}, step {step['step']}" in ended.out
    assert before == {path: path.stat().st_mtime_ns for path in before}, "nothing of the run has changed"


def test_a_step_that_is_finite_is_said_to_be(command: Command, diverged: str) -> None:
    path = RUN / "diverged.json"
    values = json.loads(path.read_text())
    path.write_text(json.dumps({**values, "step": values["step"] - 1}))
    ended = command("mode=replay", f"run={RUN}")
    if (RUN / "checkpoints").is_dir():
        assert ended.code == 2
        assert "its states are from after step" in ended.err
    else:
        assert ended.code == 0, ended.err
        assert "the step is finite this time" in ended.out


def test_a_step_of_several_ranks_is_said_to_be_repeated_on_one(command: Command) -> None:
    rate = ["optimizer=sgd", "optimizer.lr=1e30", "scheduler=constant"]
    assert command(*WORDS, *rate, "name=run").code == 3
    assert "ranks" not in command("mode=replay", f"run={RUN}").out
    path = RUN / "diverged.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "ranks": 2}))
    assert "trained on 2 ranks, and the step was repeated on one process" in command("mode=replay", f"run={RUN}").out


def test_what_cannot_be_replayed(command: Command) -> None:
    assert command(*WORDS, "trainer.epochs=1", "name=run").code == 0
    assert "no step of this run has diverged" in command("mode=replay", f"run={RUN}").err
    (RUN / "diverged.json").write_text("[]")
    assert "cannot be read" in command("mode=replay", f"run={RUN}").err
    (RUN / "config.yaml").unlink()
    ended = command("mode=replay", f"run={RUN}")
    assert ended.code == 2
    assert "no run directory" in ended.err
