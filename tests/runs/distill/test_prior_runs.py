"""Runs before a student's own: its teacher's training and earlier generations, found again and gone on with."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import yaml

from tests.conftest import TINY, Ended, summary
from tests.runs.distill.taught import CONVNEXT, RUNS, TAUGHT, Command, forget_last_epoch, run, same_student


def test_one_command_finetunes_the_teacher_and_teaches(command: Command) -> None:
    """The teacher's run is recorded, and found by the next student."""
    words = [*CONVNEXT, "strategy.teacher.finetune=true", "strategy.teacher.epochs=1", "augment.views=1"]
    run(command, "one", *words)
    (found,) = [path for path in RUNS.iterdir() if path.name.startswith("teacher-test_convnext-fake-")]
    result = summary(found)
    assert (result["status"], result["strategy"], result["epochs"]) == ("completed", "finetune", 1)
    before = (found / "summary.json").stat().st_mtime_ns
    other = run(command, "two", *words, "strategy.temperature=2")
    assert summary(other)["teacher_images"] == 0
    assert (found / "summary.json").stat().st_mtime_ns == before
    assert len(list(RUNS.glob("teacher-*"))) == 1


def test_a_wrong_student_shows_before_its_teacher_is_finetuned(command: Command) -> None:
    words = ["strategy.teacher.model=test_convnext", "strategy.teacher.weights=none", "strategy.teacher.finetune=true"]
    ended = command(*TAUGHT, *words, "model.name=test_resnt")
    assert ended.code == 2
    ended = command(*TAUGHT, *words, "strategy.loss.hint=1", "strategy.pairs=[[layer9,stage1]]")
    assert ended.code == 2
    assert "layer9" in ended.err
    assert not Path("outputs").exists()


def test_generations_are_runs_that_teach_the_next(command: Command, teacher: str) -> None:
    last = run(command, "last", teacher, "augment.views=1", "strategy.generations=2")
    (first,) = [path for path in RUNS.iterdir() if path.name.startswith("generation-")]
    assert summary(first)["status"] == "completed"
    by_hand = run(command, "hand", f"strategy.teacher.weights={first}", "augment.views=1")
    assert same_student(last, by_hand)
    assert same_student(first, run(command, "once", teacher, "augment.views=1"))


def test_repeated_from_its_settings_it_is_taught_by_the_same_teacher(command: Command) -> None:
    """What the teacher chose for itself is not what the student chose."""
    words = [*CONVNEXT, "strategy.teacher.finetune=true", "strategy.teacher.epochs=1", "augment.views=1"]
    words += ["optimizer.lr=auto", "augment=auto"]
    first = run(command, "first", *words)
    (teacher_run,) = RUNS.glob("teacher-*")
    assert yaml.safe_load((first / "config.yaml").read_text())["strategy"]["teacher"]["run"] == str(teacher_run)
    again = command(f"--config-path={first}", "name=again")
    assert again.code == 0, again.err
    assert same_student(first, RUNS / "again")
    assert len(list(RUNS.glob("teacher-*"))) == 1
    shutil.rmtree(teacher_run)
    gone = command(f"--config-path={first}", "name=gone")
    assert gone.code == 2
    assert f"strategy.teacher.run={teacher_run}: no complete run is there" in gone.err
    assert not (RUNS / "gone").exists()


def test_a_student_goes_on_with_the_teacher_that_was_made_for_it(command: Command) -> None:
    words = [*CONVNEXT, "strategy.teacher.finetune=true", "strategy.teacher.epochs=1", "augment.views=1"]
    whole, part = run(command, "whole", *words), run(command, "part", *words)
    forget_last_epoch(part)
    run(command, "part", *words, "resume=auto")
    assert same_student(whole, part)


def test_a_wrong_regulariser_of_the_teacher_is_named_where_it_was_said(command: Callable[..., Ended]) -> None:
    words = ["strategy=distill", "strategy.teacher.model=test_vit", "strategy.teacher.weights=none"]
    ended = command(*TINY, *words, "strategy.teacher.finetune=true", "strategy.adapt.l2sp.alpha=-1")
    assert ended.code == 2
    assert "strategy.adapt.l2sp.alpha=-1" in ended.err
    assert not Path("outputs").exists()
