"""strategy=distill, as a user runs it: teachers of every kind, kept answers and live ones, what is exported."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from safetensors.torch import load_file, save_file

from tests.conftest import TINY, Ended, logged, summary
from tests.runs.distill.taught import OF_PHOTOS, RUNS, TAUGHT, Command, forget_last_epoch, photos, run, same_student


@pytest.mark.parametrize(
    "change",
    [
        ["augment.views=2"],
        ["augment=none"],
        ["augment.views=1", "strategy.teacher.image_size=48"],
        ["augment.views=1", "strategy.teacher.top_k=1"],
        ["augment.views=2", "augment.brightness=0.4", "augment.flip=0.5"],
    ],
    ids=["two views", "no augmentation", "another size", "top k", "colour"],
)
def test_kept_and_live_answers_teach_the_same_to_the_bit(command: Command, teacher: str, change: list[str]) -> None:
    kept = run(command, "kept", teacher, *change)
    live = run(command, "live", teacher, *change, "strategy.teacher.cache=false")
    assert same_student(kept, live)
    views = 2 if "augment.views=2" in change else 1
    assert summary(kept)["teacher_images"] == 42 * views + 9
    assert summary(live)["teacher_images"] == 42 * 2 + 9


def test_the_teacher_runs_once_for_all_students_and_weights(command: Command, teacher: str) -> None:
    first = run(command, "first", teacher, "augment.views=1")
    assert summary(first)["teacher_images"] > 0
    for name, words in {
        "hotter": ["strategy.temperature=9", "strategy.loss.dkd=1"],
        "other": ["model.name=test_convnext", "strategy.standardize_logits=true", "strategy.loss.dist=1"],
    }.items():
        again = run(command, name, teacher, "augment.views=1", *words)
        assert summary(again)["teacher_images"] == 0
        assert not same_student(first, again)


def test_without_soft_terms_the_teacher_teaches_nothing(command: Command, teacher: str) -> None:
    """Cross-entropy alone is finetuning, to rounding."""
    taught = run(command, "taught", teacher, "strategy.loss.kd=0", "strategy.loss.ce=1", "augment.views=1")
    assert command(*TINY, "name=alone", "augment.views=1", "strategy.label_smoothing=0").code == 0
    ours, theirs = (logged(path / "metrics.jsonl") for path in (taught, RUNS / "alone"))
    assert [event["loss"] for event in ours] == pytest.approx([event["loss"] for event in theirs], abs=1e-4)


def test_a_teacher_that_guesses_is_refused_or_told(command: Command) -> None:
    random = ["strategy.teacher.model=test_resnet", "strategy.teacher.weights=none"]
    ended = command(*TINY, "strategy=distill", "name=no", *random)
    assert ended.code == 2
    assert "no better than chance" in ended.err and "strategy.teacher.finetune=true" in ended.err
    assert not Path("outputs").exists()
    ended = command(*TAUGHT, "name=yes", *random)
    assert ended.code == 0, ended.err
    assert "warning: strategy.teacher: test_resnet is right for" in ended.out


def test_classes_are_matched_by_name(command: Command, teacher: str) -> None:
    """A teacher that has the classes in another order teaches the same."""
    expected = run(command, "expected", teacher, "augment.views=1")
    tensors = load_file(RUNS / "teacher" / "model.safetensors")
    order = [1, 0, 2]
    about = json.loads((RUNS / "teacher" / "model.json").read_text())
    about["classes"] = [about["classes"][place] for place in order]
    (RUNS / "teacher" / "model.json").write_text(json.dumps(about))
    moved = {name: tensor[order] if name.startswith("fc.") else tensor for name, tensor in tensors.items()}
    save_file(moved, RUNS / "teacher" / "model.safetensors")
    found = run(command, "found", teacher, "augment.views=1")
    assert summary(found)["teacher_images"] > 0
    assert same_student(expected, found)


def test_two_of_one_teacher_are_one_teacher(command: Command, teacher: str) -> None:
    once = run(command, "once", teacher, "augment.views=1")
    twice = run(
        command, "twice", "strategy.teacher.weights=[outputs/runs/teacher,outputs/runs/teacher]", "augment.views=1"
    )
    one, two = (load_file(path / "model.safetensors") for path in (once, twice))
    assert all(one[name].float().allclose(two[name].float(), atol=1e-3) for name in one)


def test_resuming_gives_the_same_student(command: Command, teacher: str) -> None:
    whole = run(command, "whole", teacher, "augment.views=2")
    part = run(command, "part", teacher, "augment.views=2")
    forget_last_epoch(part)
    run(command, "part", teacher, "augment.views=2", "resume=auto")
    assert same_student(whole, part)


FEATURES = {
    "hint": ["strategy.loss.hint=10", "strategy.pairs=[[layer2,layer1],[layer4,layer4]]"],
    "attention": ["strategy.loss.attention=100"],
    "rkd": ["strategy.loss.rkd=5"],
    "crd": ["strategy.loss.crd=0.1", "strategy.negatives=16"],
}


@pytest.mark.parametrize("words", FEATURES.values(), ids=FEATURES.keys())
def test_feature_terms_train_and_leave_the_plain_architecture(command: Command, teacher: str, words: list[str]) -> None:
    short = [teacher, "augment.views=1", "trainer.epochs=1"]
    kept = run(command, "kept", *short, *words)
    live = run(command, "live", *short, *words, "strategy.teacher.cache=false")
    plain = run(command, "plain", *short)
    assert same_student(kept, live)
    assert not same_student(kept, plain)
    alone, taught = (load_file(path / "model.safetensors") for path in (RUNS / "teacher", kept))
    assert {name: tensor.shape for name, tensor in taught.items()} == {n: t.shape for n, t in alone.items()}
    assert summary(kept)["parameters"] == summary(plain)["parameters"]
    state = max((kept / "checkpoints").iterdir())
    assert (state / "distillation.safetensors").is_file() == (words[0].split("=")[0][-4:] in ("hint", ".crd"))
    assert not (max((plain / "checkpoints").iterdir()) / "distillation.safetensors").exists()


@pytest.mark.parametrize("term", ["hint", "crd"])
def test_what_trains_beside_the_student_is_resumed(command: Command, teacher: str, term: str) -> None:
    words = [*FEATURES[term], "augment.views=1"]
    whole = run(command, "whole", teacher, *words)
    part = run(command, "part", teacher, *words)
    forget_last_epoch(part)
    run(command, "part", teacher, *words, "resume=auto")
    assert same_student(whole, part)
    states = [max((path / "checkpoints").iterdir()) / "distillation.safetensors" for path in (whole, part)]
    assert states[0].read_bytes() == states[1].read_bytes()


def test_a_teacher_that_knows_less_than_the_student_could_is_told(command: Command, tmp_path: Path) -> None:
    """The teacher calls bright what is dark; the student's frozen features tell them apart."""
    photos(tmp_path / "photos")
    photos(tmp_path / "swapped", first=100)
    (tmp_path / "swapped" / "dark").rename(tmp_path / "swapped" / "x")
    (tmp_path / "swapped" / "bright").rename(tmp_path / "swapped" / "dark")
    (tmp_path / "swapped" / "x").rename(tmp_path / "swapped" / "bright")
    plain = [word for word in OF_PHOTOS if not word.startswith(("strategy", "dataset.path"))]
    for name in ("photos", "swapped"):
        words = ["strategy=finetune", f"dataset.path={name}", f"name={name}", "trainer.epochs=20", "augment=none"]
        assert command(*plain, *words).code == 0
    student = [*OF_PHOTOS, "model.weights=outputs/runs/photos", "augment=none"]
    weak = command(*student, "name=weak", "strategy.teacher.weights=outputs/runs/swapped")
    assert weak.code == 0, weak.err
    assert "may hold the student back" in weak.out + weak.err
    found = summary(RUNS / "weak")
    assert found["student_probe_val_accuracy"] > found["teacher_val_accuracy"][0]
    good = command(*student, "name=good", "strategy.teacher.weights=outputs/runs/photos")
    assert good.code == 0, good.err
    assert summary(RUNS / "good")["student_probe_val_accuracy"] is not None
    assert "may hold the student back" not in good.out + good.err


def test_a_rate_is_found_for_a_student(command: Command, teacher: str) -> None:
    ended = command(*TAUGHT, teacher, "mode=find_lr", "augment.views=1", "find_lr.steps=5", "name=rate")
    assert ended.code == 0, ended.err
    assert Path("outputs/find_lr/rate/rates.csv").is_file()


def test_parts_of_the_loss_together_are_the_loss(command: Callable[..., Ended]) -> None:
    words = ["strategy=distill", "strategy.teacher.model=test_vit", "strategy.teacher.weights=none"]
    terms = ["strategy.teacher.allow_chance=true", "strategy.loss.hint=2", "strategy.loss.rkd=0.5"]
    assert command(*TINY, *words, *terms, "strategy.use_teacher=true", "name=parts").code == 0
    for event in logged(Path("outputs/runs/parts/metrics.jsonl")):
        if event["split"] == "train":
            assert event["loss_parts"].keys() == {"ce", "kd", "hint", "rkd"}
            assert sum(event["loss_parts"].values()) == pytest.approx(event["loss"], rel=1e-5)


def test_without_a_teacher_the_labels_alone_teach(command: Command, teacher: str) -> None:
    alone = run(command, "alone", teacher, "augment.views=1", "strategy.use_teacher=false")
    without_terms = run(command, "terms", teacher, "augment.views=1", "strategy.loss.ce=1", "strategy.loss.kd=0")
    assert same_student(alone, without_terms)


@pytest.mark.parametrize("swapped", [False, True])
def test_whichever_validation_prefers_goes_on(
    command: Command, teacher: str, monkeypatch: pytest.MonkeyPatch, *, swapped: bool
) -> None:
    """Learning with and without the teacher is compared for half of the epochs."""
    from transfer_cli.runs.loop_job import LoopJob

    scores = iter([0.5, 0.75] if swapped else [0.75, 0.5])
    ran = LoopJob.run_part

    def run_part(job: LoopJob, *arguments: Any) -> float:
        ran(job, *arguments)
        return next(scores)

    monkeypatch.setattr(LoopJob, "run_part", run_part)
    words = [teacher, "augment.views=1", "trainer.epochs=4"]
    found = run(command, "compared", *words, "strategy.use_teacher=auto")
    assert yaml.safe_load((found / "config.yaml").read_text())["strategy"]["use_teacher"] is not swapped
    tried = json.loads((found / "search.json").read_text())["tried"]
    assert [row["epochs"] for row in tried] == [2, 2]
    log = (found / "run.log").read_text()
    assert "search    candidate 2 of 2: strategy.use_teacher=false" in log and log.count("epoch 1/4") == 2
    asked = run(command, "asked", *words, f"strategy.use_teacher={str(not swapped).lower()}")
    assert same_student(found, asked)
