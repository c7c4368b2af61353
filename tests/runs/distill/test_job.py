"""strategy=distill, as a user runs it: teachers of every kind, kept answers and live ones, what is exported."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image
from safetensors.torch import load_file, save_file

from tests.conftest import TINY, Ended, summary
from transfer_cli.records import metrics

Command = Callable[..., Ended]
RUNS = Path("outputs/runs")
TAUGHT = [*TINY, "strategy=distill", "strategy.teacher.allow_chance=true", "strategy.use_teacher=true"]
CONVNEXT = ["strategy.teacher.model=test_convnext", "strategy.teacher.source=timm", "strategy.teacher.weights=none"]


@pytest.fixture
def teacher(command: Command) -> str:
    """A run directory whose network has seen one epoch."""
    assert command(*TINY, "name=teacher", "trainer.epochs=1", "seed=7").code == 0
    return "strategy.teacher.weights=outputs/runs/teacher"


def run(command: Command, name: str, *words: str) -> Path:
    ended = command(*TAUGHT, f"name={name}", *words)
    assert ended.code == 0, ended.err
    return RUNS / name


def same_student(one: Path, other: Path) -> bool:
    files = ("model.safetensors", "metrics.jsonl", "predictions.csv")
    return all((one / file).read_bytes() == (other / file).read_bytes() for file in files)


def forget_last_epoch(path: Path) -> None:
    """As if the run had been killed before its last state was written."""
    shutil.rmtree(max((path / "checkpoints").iterdir()))
    (path / "summary.json").unlink()


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
    ours, theirs = (metrics.read(path / "metrics.jsonl") for path in (taught, RUNS / "alone"))
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


def test_images_without_labels_are_enough(command: Command, tmp_path: Path) -> None:
    for number in range(20):
        Image.new("RGB", (32, 32), (12 * number, 200, 90)).save(tmp_path / f"{number}.png")
    (tmp_path / "unknown").mkdir()
    for file in tmp_path.glob("*.png"):
        file.rename(tmp_path / "unknown" / file.name)
    assert command(*TINY, "name=teacher", "trainer.epochs=1").code == 0
    words = [word for word in TAUGHT if not word.startswith("dataset")]
    words += ["dataset=folder", "dataset.path=unknown", "dataset.labels=none", "strategy.loss.ce=0"]
    ended = command(*words, "name=taught", "augment=none", "strategy.teacher.weights=outputs/runs/teacher")
    assert ended.code == 0, ended.err
    assert "nobody knows" in ended.out
    classes = [json.loads((RUNS / name / "model.json").read_text())["classes"] for name in ("teacher", "taught")]
    assert classes[0] == classes[1]
    assert summary(RUNS / "taught")["teacher_images"] == 20
    train = [entry for entry in metrics.read(RUNS / "taught" / "metrics.jsonl") if entry["split"] == "train"]
    assert {entry["accuracy"] for entry in train} == {None}
    assert "accuracy" not in next(line for line in ended.out.splitlines() if line.startswith("epoch"))
    evaluated = command("mode=evaluate", "run=outputs/runs/taught")
    assert evaluated.code == 2
    assert "no labels to compare with" in evaluated.err


def photos(folder: Path, first: int = 0) -> None:
    """Dark ones and bright ones, 20 each."""
    for number in range(first, first + 20):
        for name, level in (("dark", 40), ("bright", 200)):
            (folder / name).mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (32, 32), (level + number % 40, 3 * number, level)).save(folder / name / f"{number}.png")


OF_PHOTOS = [*(word for word in TAUGHT if not word.startswith("dataset")), "dataset=folder", "dataset.path=photos"]


def test_images_without_labels_join_those_with(command: Command, tmp_path: Path) -> None:
    photos(tmp_path / "photos")
    photos(tmp_path / "more", first=20)
    ended = command(
        *(word for word in OF_PHOTOS if not word.startswith("strategy")), "strategy=finetune", "name=teacher"
    )
    assert ended.code == 0, ended.err
    words = [*OF_PHOTOS, "dataset.unlabelled=more", "augment.views=1", "strategy.teacher.weights=outputs/runs/teacher"]
    ended = command(*words, "name=taught", "strategy.loss.dkd=0.5")
    assert ended.code == 0, ended.err
    assert "28 images with labels and 40 without" in ended.out
    taught = summary(RUNS / "taught")
    assert taught["teacher_images"] == 28 + 40 + 6
    train = [
        entry["accuracy"] for entry in metrics.read(RUNS / "taught" / "metrics.jsonl") if entry["split"] == "train"
    ]
    assert all(round(28 * accuracy, 6) == round(28 * accuracy) for accuracy in train), "of labelled images alone"
    forget_last_epoch(RUNS / "taught")
    before = (RUNS / "taught" / "model.safetensors").read_bytes()
    assert command(*words, "name=taught", "strategy.loss.dkd=0.5", "resume=auto").code == 0
    assert (RUNS / "taught" / "model.safetensors").read_bytes() == before


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


def test_unlabelled_images_do_not_reach_the_teachers_own_run_and_may_be_damaged(
    command: Command, tmp_path: Path
) -> None:
    """CRD has a memory of every sample."""
    photos(tmp_path / "photos")
    photos(tmp_path / "more", first=20)
    (tmp_path / "more" / "dark" / "20.png").write_bytes(b"no image")
    words = [*OF_PHOTOS, "dataset.unlabelled=more", "dataset.on_bad=skip", "augment=none", "strategy.loss.crd=0.1"]
    words += ["strategy.negatives=8", "strategy.teacher.model=test_resnet", "strategy.teacher.source=timm"]
    words += ["strategy.teacher.weights=none", "strategy.teacher.finetune=true", "strategy.teacher.epochs=1"]
    ended = command(*words, "name=taught")
    assert ended.code == 0, ended.err
    (teacher,) = RUNS.glob("teacher-*")
    counts = [json.loads((run / "dataset.json").read_text()) for run in (teacher, RUNS / "taught")]
    assert [count["images"]["train"] for count in counts] == [28, 28 + 39]
    assert summary(RUNS / "taught")["teacher_images"] == 28 + 39 + 6
    for file in (tmp_path / "more").rglob("*.png"):
        file.write_bytes(b"no image")
    ended = command(*words, "name=again")
    assert (ended.code, "dataset.unlabelled: none of its images" in ended.err) == (2, True)


def test_a_rate_is_found_for_a_student(command: Command, teacher: str) -> None:
    ended = command(*TAUGHT, teacher, "mode=find_lr", "augment.views=1", "find_lr.steps=5", "name=rate")
    assert ended.code == 0, ended.err
    assert Path("outputs/find_lr/rate/rates.csv").is_file()


def test_parts_of_the_loss_together_are_the_loss(command: Callable[..., Ended]) -> None:
    words = ["strategy=distill", "strategy.teacher.model=test_vit", "strategy.teacher.weights=none"]
    terms = ["strategy.teacher.allow_chance=true", "strategy.loss.hint=2", "strategy.loss.rkd=0.5"]
    assert command(*TINY, *words, *terms, "strategy.use_teacher=true", "name=parts").code == 0
    for event in metrics.read(Path("outputs/runs/parts/metrics.jsonl")):
        if event["split"] == "train":
            assert event["loss_parts"].keys() == {"ce", "kd", "hint", "rkd"}
            assert sum(event["loss_parts"].values()) == pytest.approx(event["loss"], rel=1e-5)


def test_a_wrong_regulariser_of_the_teacher_is_named_where_it_was_said(command: Callable[..., Ended]) -> None:
    words = ["strategy=distill", "strategy.teacher.model=test_vit", "strategy.teacher.weights=none"]
    ended = command(*TINY, *words, "strategy.teacher.finetune=true", "strategy.adapt.l2sp.alpha=-1")
    assert ended.code == 2
    assert "strategy.adapt.l2sp.alpha=-1" in ended.err
    assert not Path("outputs").exists()


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
    asked = run(command, "asked", *words, f"strategy.use_teacher={str(not swapped).lower()}")
    assert same_student(found, asked)


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
