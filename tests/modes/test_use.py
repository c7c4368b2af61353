"""mode=evaluate and mode=predict: what was trained is of use at once."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.conftest import TINY, Ended, experiment, summary
from transfer_cli.data.sources.load import load

Command = Callable[..., Ended]
FAKE = experiment("dataset=fake", "dataset.num_classes=3", "dataset.samples=60").dataset


@pytest.fixture
def run(command: Command) -> Path:
    assert command(*TINY, "name=tiny").code == 0
    return Path("outputs/runs/tiny")


def test_evaluate_gives_the_summarys_numbers_to_the_last_digit(command: Command, run: Path) -> None:
    ended = command("mode=evaluate", f"run={run}", "trainer.device=cpu")
    assert ended.code == 0, ended.err
    expected = summary(run)["test"]
    report = json.loads((run / "evaluation.json").read_text())
    assert {key: report[key] for key in expected} == expected
    assert all(repr(value) in ended.out for value in expected.values())


def test_evaluate_tells_of_words_that_it_does_not_read(command: Command, run: Path) -> None:
    words = ["mode=evaluate", f"run={run}", "trainer.device=cpu"]
    unread = ("image_size=64", "optimizer.lr=1", "logger=csv", "trainer.sharding=full")
    plain, more = command(*words), command(*words, *unread)
    assert "has no effect" not in plain.out + plain.err
    for word in unread:
        assert f"{word}: has no effect" in more.out + more.err


def test_evaluate_another_split_batch_size_and_workers(command: Command, run: Path) -> None:
    words = [
        "mode=evaluate",
        f"run={run}",
        "split=val",
        "trainer.batch_size=4",
        "trainer.workers=2",
        "trainer.device=cpu",
    ]
    assert command(*words).code == 0
    report = json.loads((run / "evaluation.json").read_text())
    expected = summary(run)["val"]
    assert {key: report[key] for key in expected} == expected


def test_evaluate_another_data_set_matches_classes_by_name(command: Command, run: Path) -> None:
    """The same images as a folder, whose class folders sort otherwise, score the same."""
    copied()
    ended = command("mode=evaluate", f"run={run}", "dataset=folder", "dataset.path=copy", "trainer.device=cpu")
    assert ended.code == 0, ended.err
    report = json.loads((run / "evaluation.json").read_text())
    assert report["accuracy"] == summary(run)["test"]["accuracy"]
    Path("copy/train/stranger").mkdir()
    Image.new("RGB", (8, 8)).save("copy/train/stranger/1.png")
    strange = command("mode=evaluate", f"run={run}", "dataset=folder", "dataset.path=copy")
    assert strange.code == 2
    assert "stranger" in strange.err


def copied() -> None:
    """The images of the run's data set as class folders, in its splits."""
    images = load(FAKE, 0)
    for split, indices in images.splits.items():
        for index in indices:
            path = Path("copy") / split / images.classes[images.labels[index]] / f"{index:03d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            images.read(int(index)).save(path)


@pytest.mark.parametrize("plus", ["", "++"])
def test_evaluate_reads_a_key_of_the_data_set_in_every_notation(command: Command, run: Path, plus: str) -> None:
    words = ["mode=evaluate", f"run={run}", "trainer.device=cpu"]
    assert command(*words).code == 0
    own = json.loads((run / "evaluation.json").read_text())
    copied()
    ended = command(*words, f"{plus}dataset.path=copy", f"{plus}dataset.name=folder")
    assert ended.code == 0, ended.err
    report = json.loads((run / "evaluation.json").read_text())
    assert (report["dataset"]["name"], report["dataset"]["path"]) == ("folder", "copy")
    assert own["dataset"]["name"] == "fake"


@pytest.mark.parametrize(
    ("word", "key", "value"),
    [
        ("++dataset.samples=30", "samples", 30),
        ("+dataset.samples=30", "samples", 30),
        ("++dataset={samples:30}", "samples", 30),
        ("++dataset.val_fraction=0.3", "val_fraction", 0.3),
    ],
)
def test_evaluate_adds_what_a_word_adds(command: Command, run: Path, word: str, key: str, value: float) -> None:
    assert command("mode=evaluate", f"run={run}", "trainer.device=cpu", word).code == 0
    assert json.loads((run / "evaluation.json").read_text())["dataset"][key] == value


def test_evaluate_reads_the_seed_in_every_notation(command: Command, run: Path) -> None:
    """Another seed cuts other splits."""
    reports = []
    for word in ("seed=5", "++seed=5", "seed=0"):
        assert command("mode=evaluate", f"run={run}", "trainer.device=cpu", word).code == 0
        reports.append((run / "evaluation.json").read_text())
    assert reports[0] == reports[1] != reports[2]


@pytest.mark.parametrize("mode", [["mode=evaluate"], ["mode=predict", "input=one.png"]], ids=["evaluate", "predict"])
def test_words_that_are_not_read_are_named_in_every_notation(command: Command, run: Path, mode: list[str]) -> None:
    Image.new("RGB", (32, 32)).save("one.png")
    ended = command(*mode, f"run={run}", "trainer.device=cpu", "++image_size=64", "++optimizer.lr=1", "experiment=lora")
    for word in ("++image_size=64", "++optimizer.lr=1", "experiment=lora"):
        assert f"{word}: has no effect" in ended.out + ended.err


def folder_of_test_images(run: Path) -> dict[str, str]:
    """The run's test images as files, with what predictions.csv says of each."""
    images = load(FAKE, 0)
    Path("new/deep").mkdir(parents=True)
    expected = {}
    with (run / "predictions.csv").open() as file:
        for row, index in zip(csv.DictReader(file), images.splits["test"], strict=True):
            path = Path("new/deep") / f"{index}.png"
            images.read(int(index)).save(path)
            expected[str(path)] = row["predicted"]
    return expected


def test_predict_agrees_with_the_test_predictions_and_survives_a_broken_image(command: Command, run: Path) -> None:
    expected = folder_of_test_images(run)
    Path("new/broken.jpg").write_bytes(b"\xff\xd8\xff no picture")
    ended = command("mode=predict", f"run={run}", "input=new", "output=labels.csv", "trainer.device=cpu")
    assert ended.code == 0, ended.err
    assert "broken.jpg" in ended.out
    assert ended.out.splitlines()[-1] == "labels.csv"
    with open("labels.csv") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["path", "label", "probability"]
    assert {row["path"]: row["label"] for row in rows} == expected
    assert all(1 / 3 <= float(row["probability"]) <= 1 for row in rows)


def test_predict_one_file_goes_into_the_run(command: Command, run: Path) -> None:
    Image.fromarray(np.zeros((9, 70), dtype=np.uint8)).save("one.png")
    ended = command("mode=predict", f"run={run}", "input=one.png", "quiet=true")
    assert ended.code == 0
    with open(ended.out.strip()) as file:
        assert [row["path"] for row in csv.DictReader(file)] == ["one.png"]


def test_predict_with_nothing_readable_is_an_error(command: Command, run: Path) -> None:
    Path("new").mkdir()
    assert command("mode=predict", f"run={run}", "input=new").code == 2
    Path("new/broken.png").write_bytes(b"")
    ended = command("mode=predict", f"run={run}", "input=new")
    assert ended.code == 2
    assert "none of 1" in ended.err


@pytest.mark.parametrize("damage", ["{", "[]", '{"model": {"name": "os.system", "source": "timm"}}'])
def test_a_damaged_description_is_refused(command: Command, run: Path, damage: str) -> None:
    (run / "model.json").write_text(damage)
    ended = command("mode=predict", f"run={run}", f"input={run}")
    assert ended.code == 2
    assert "Traceback" not in ended.err


def test_evaluate_tells_of_a_split_that_is_no_longer_the_same(command: Command, tmp_path: Path) -> None:
    def photo(name: str, number: int) -> None:
        (tmp_path / "photos" / name).mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (32, 32), (number, 90, 9)).save(tmp_path / "photos" / name / f"{number}.png")

    for number in range(20):
        for name in ("a", "b"):
            photo(name, number)
    plain = [word for word in TINY if not word.startswith("dataset")]
    assert command(*plain, "dataset=folder", "dataset.path=photos", "name=tiny").code == 0
    words = ["mode=evaluate", "run=outputs/runs/tiny", "trainer.device=cpu"]
    same = command(*words)
    assert "holds other images" not in same.out + same.err
    for number in range(100, 120):
        photo("a", number)
    grown = command(*words)
    assert grown.code == 0, grown.err
    assert "split test holds other images" in grown.out + grown.err


@pytest.mark.parametrize("words", [["++seed=1"], ["seed=1"], ["dataset.test_fraction=0.5"]])
def test_evaluation_says_that_a_split_cut_otherwise_was_trained_on(
    command: Command, tmp_path: Path, words: list[str]
) -> None:
    random = np.random.default_rng(0)
    for label in ("a", "b"):
        for number in range(20):
            file = tmp_path / "photos" / label / f"{number}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(random.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(file)
    tiny = [word for word in TINY if not word.startswith("dataset")]
    assert command(*tiny, "dataset=folder", f"dataset.path={tmp_path}/photos", "name=one").code == 0
    same = command("mode=evaluate", "run=outputs/runs/one", "trainer.device=cpu")
    assert same.code == 0 and "trained on" not in same.out
    other = command("mode=evaluate", "run=outputs/runs/one", "trainer.device=cpu", *words)
    assert other.code == 0, other.err
    assert "were trained on" in other.out
