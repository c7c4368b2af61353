"""Images without labels teach as well, alone or beside those with labels."""

from __future__ import annotations

import json
from pathlib import Path

from PIL import Image

from tests.conftest import TINY, logged, summary
from tests.runs.distill.taught import OF_PHOTOS, RUNS, TAUGHT, Command, forget_last_epoch, photos


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
    train = [entry for entry in logged(RUNS / "taught" / "metrics.jsonl") if entry["split"] == "train"]
    assert {entry["accuracy"] for entry in train} == {None}
    assert "accuracy" not in next(line for line in ended.out.splitlines() if line.startswith("epoch"))
    evaluated = command("mode=evaluate", "run=outputs/runs/taught")
    assert evaluated.code == 2
    assert "no labels to compare with" in evaluated.err


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
    train = [entry["accuracy"] for entry in logged(RUNS / "taught" / "metrics.jsonl") if entry["split"] == "train"]
    assert all(round(28 * accuracy, 6) == round(28 * accuracy) for accuracy in train), "of labelled images alone"
    forget_last_epoch(RUNS / "taught")
    before = (RUNS / "taught" / "model.safetensors").read_bytes()
    assert command(*words, "name=taught", "strategy.loss.dkd=0.5", "resume=auto").code == 0
    assert (RUNS / "taught" / "model.safetensors").read_bytes() == before


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
