"""Going on with a run: states within an epoch, how many are kept, and settings that may change on the way."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from PIL import Image

from tests.conftest import TINY, Ended, logged, summary

Command = Callable[..., Ended]
StopAt = Callable[[int | None], None]
RUN = Path("outputs/runs/run")
WHOLE = Path("outputs/runs/whole")
RESULTS = ("model.safetensors", "metrics.jsonl", "predictions.csv")
WORDS = [*TINY, "tune=off", "strategy.batch_norm=train", "optimizer.lr=0.003"]
STEPS = 3
"""Of an epoch: 42 images, 16 a step."""


def states() -> list[Path]:
    return sorted((RUN / "checkpoints").glob("state-*"))


def where(state: Path) -> tuple[int, int]:
    """Epochs that are done, and steps in the next."""
    cursor = json.loads((state / "state.json").read_text())["parts"]["progress"]["cursor"]
    return cursor["epoch"], cursor["step_in_epoch"]


def assert_same_end() -> None:
    for file in RESULTS:
        assert (RUN / file).read_bytes() == (WHOLE / file).read_bytes(), file


@pytest.mark.parametrize(
    "more",
    [
        [],
        pytest.param(["strategy=distill", "strategy.teacher.weights=outputs/runs/teacher"], marks=pytest.mark.slow),
    ],
)
def test_killed_within_an_epoch_it_goes_on_within_that_epoch(
    command: Command, stop_at: StopAt, more: list[str]
) -> None:
    if more:
        assert command(*WORDS, "name=teacher", "trainer.epochs=1").code == 0
        more = [*more, "strategy.teacher.allow_chance=true", "strategy.use_teacher=true"]
        more = [*(word for word in WORDS if not word.startswith("strategy.")), *more]
    words = [*(more or WORDS), "trainer.epochs=3", "trainer.checkpoint_every=2 steps"]
    assert command(*words, "name=whole").code == 0
    stop_at(12)
    assert command(*words, "name=run", "resume=auto").code == 75
    stop_at(None)
    # As a kill leaves it: without the state that the signal saved.
    shutil.rmtree(states()[-1])
    before = where(states()[-1])
    assert before[1] > 0
    ended = command(*words, "name=run", "resume=auto")
    assert ended.code == 0, ended.err
    assert f"resuming at epoch {before[0] + 1}, step {before[0] * STEPS + before[1]}" in ended.out
    assert_same_end()


def test_states_after_some_epochs_and_of_the_best(command: Command) -> None:
    assert command(*WORDS, "name=run", "trainer.epochs=7", "trainer.checkpoint_every=3", "trainer.keep=100").code == 0
    metrics = [event for event in logged(RUN / "metrics.jsonl") if event["split"] == "val"]
    best: list[int] = []
    for event in metrics:
        score = (event["accuracy"], -event["loss"])
        if not best or score > (metrics[best[-1] - 1]["accuracy"], -metrics[best[-1] - 1]["loss"]):
            best.append(event["epoch"])
    assert [where(state) for state in states()] == [(epoch, 0) for epoch in sorted({*best, 3, 6, 7})]


def test_a_state_that_is_due_at_the_last_step_of_an_epoch_waits_for_its_evaluation(command: Command) -> None:
    often = [f"trainer.checkpoint_every={STEPS} steps", "trainer.keep=100"]
    assert command(*WORDS, "name=run", "trainer.epochs=5", *often).code == 0
    assert [where(state) for state in states()] == [(epoch, 0) for epoch in range(1, 6)]


@pytest.mark.parametrize(
    ("keep", "left"), [("1", 1), pytest.param("3", 3, marks=pytest.mark.slow), ("last", 1), ("best", 1)]
)
def test_how_many_are_kept(command: Command, keep: str, left: int) -> None:
    assert command(*WORDS, "name=run", "trainer.epochs=5", f"trainer.keep={keep}").code == 0
    best = summary(RUN)["best_epoch"]
    found = [where(state)[0] for state in states()]
    newest = [best] if keep == "best" else [5, 4, 3][:left]
    assert sorted(found) == sorted({*newest, *([best] if keep.isdigit() else [])})
    assert command("mode=evaluate", f"run={RUN}").code == 0


def test_a_complete_run_trains_longer(command: Command) -> None:
    words = [*WORDS, "scheduler=constant"]
    assert command(*words, "name=whole", "trainer.epochs=4").code == 0
    assert command(*words, "name=run", "trainer.epochs=2").code == 0
    ended = command(*words, "name=run", "resume=auto", "trainer.epochs=4")
    assert ended.code == 0, ended.err
    assert "trainer.epochs=4, 2 before" in ended.out
    assert "schedule" not in ended.out, "a constant rate is the same for any length"
    assert_same_end()
    assert yaml.safe_load((RUN / "config.yaml").read_text())["trainer"]["epochs"] == 4
    assert "nothing to do" in command(*words, "name=run", "resume=auto", "trainer.epochs=4").out


def test_the_schedule_of_a_longer_run_is_said(command: Command, stop_at: StopAt) -> None:
    assert command(*WORDS, "name=run", "trainer.epochs=2", "trainer.patience=1").code == 0
    words = ["trainer.epochs=4", f"resume={RUN}", "trainer.keep=5", "trainer.workers=1"]
    # Stopped before its first step, with a config.yaml of four epochs and states of two.
    stop_at(1)
    assert command(*words).code == 75
    stop_at(None)
    begun = yaml.safe_load((RUN / "config.yaml").read_text())["trainer"]
    assert (begun["epochs"], begun["keep"], begun["workers"]) == (4, 5, 1)
    assert begun["patience"] is None, "it may have run out before the epochs that are asked for"
    ended = command(*WORDS, "name=run", "resume=auto", "trainer.epochs=4")
    assert ended.code == 0, ended.err
    assert "resuming at epoch 3, step 6" in ended.out
    assert summary(RUN)["epochs"] == 4
    log = (RUN / "run.log").read_text()
    assert "the cosine schedule is that of 12 steps now, of 6 before: the next step has the learning rate" in log


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("optimizer.lr=0.1", "optimizer.lr=0.1 (there 0.003)"),
        ("trainer.epochs=1", "trainer.epochs=1 (there 2). A run can be made longer, not shorter."),
        ("seed=7", "seed=7 (there 0)"),
    ],
)
@pytest.mark.parametrize("how", ["name=run resume=auto", pytest.param(f"resume={RUN}", marks=pytest.mark.slow)])
def test_what_would_make_another_run_is_refused(command: Command, change: str, said: str, how: str) -> None:
    assert command(*WORDS, "name=run").code == 0
    before = {path: path.stat().st_mtime_ns for path in RUN.rglob("*")}
    ended = command(*(WORDS if "name" in how else []), *how.split(), change)
    assert ended.code == 2
    assert said in ended.err
    assert before == {path: path.stat().st_mtime_ns for path in RUN.rglob("*")}


def test_extracted_heads_do_not_train_longer(command: Command) -> None:
    words = [word for word in WORDS if not word.startswith(("strategy", "augment"))]
    words = [*words, "augment=none", "strategy=extract", "strategy.solver=optimizer"]
    assert command(*words, "name=run").code == 0
    assert command(*words, "name=run", "resume=auto", "trainer.epochs=4").code == 2
    assert "strategy=extract has no states" in command(*words, "trainer.keep=1").out


def test_without_a_state_it_does_not_train_longer(command: Command) -> None:
    words = [*WORDS, "name=run", "trainer.keep=none"]
    assert command(*words).code == 0
    ended = command(*words, "resume=auto", "trainer.epochs=4")
    assert ended.code == 2
    assert "has no state to train on from" in ended.err


def test_images_and_device_may_be_elsewhere(command: Command) -> None:
    first = Path("first")
    for number in range(40):
        file = first / f"class{number % 2}" / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (32, 32), (6 * number, 255 * (number % 2), 0)).save(file)
    words = [word for word in WORDS if not word.startswith(("dataset", "trainer.device"))]
    words = [*words, "dataset=folder", "name=run", "resume=auto"]
    assert command(*words, f"dataset.path={first}", "trainer.epochs=1").code == 0
    first.rename("second")
    words = [*words, "dataset.path=second", "trainer.epochs=2"]
    ended = command(*words, "trainer.device=cpu", "trainer.patience=9")
    assert ended.code == 0, ended.err
    for said in ("dataset.path=second, first before", "trainer.device=cpu, auto before", "trainer.patience=9"):
        assert said in ended.out
    next(Path("second").rglob("*.png")).unlink()
    ended = command(*words, "trainer.epochs=3")
    assert ended.code == 2, "other images are another run"
    assert "has 13 images, 14 before" in ended.err


def test_a_run_that_is_named_and_not_its_directory_is_offered(command: Command) -> None:
    assert command(*WORDS, "name=mine", "trainer.epochs=1").code == 0
    ended = command(*WORDS, "resume=mine")
    assert ended.code == 2 and ended.err.rstrip().endswith("Did you mean outputs/runs/mine?")
