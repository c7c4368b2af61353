"""A run goes on with its own images alone: classes, their order, and which split each image is in."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.conftest import TINY, Ended

Command = Callable[..., Ended]
WORDS = [*[word for word in TINY if "dataset" not in word], "dataset=folder", "dataset.path=photos"]
RUN = Path("outputs/runs/one")


@pytest.fixture(autouse=True)
def photos() -> Path:
    """Three classes of twelve images."""
    random = np.random.default_rng(0)
    for label, name in enumerate(("ant", "bee", "cow")):
        folder = Path("photos", name)
        folder.mkdir(parents=True)
        for number in range(12):
            pixels = random.integers(60 * label, 60 * label + 100, (20, 20, 3))
            Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{number}.png")
    return Path("photos")


def rename(name: str, other: str) -> None:
    Path("photos", name).rename(Path("photos", other))


def swap() -> None:
    rename("ant", "x")
    rename("bee", "ant")
    rename("x", "bee")


def unfinished(run: Path) -> None:
    """As if the run had been killed in its second epoch."""
    shutil.rmtree(max((run / "checkpoints").iterdir()))
    (run / "summary.json").unlink()


CHANGES: dict[str, tuple[Callable[[], object], list[str]]] = {
    "renamed": (lambda: rename("ant", "yak"), ["class 'ant' is gone", "class 'yak' is new"]),
    "renamed in place": (lambda: rename("bee", "bat"), ["class 'bee' is gone", "class 'bat' is new"]),
    "added": (lambda: shutil.copytree("photos/ant", "photos/ape"), ["class 'ape' is new"]),
    "removed": (lambda: shutil.rmtree("photos/bee"), ["class 'bee' is gone"]),
    "swapped": (swap, ["class 'ant' has the images that were of class 'bee'"]),
    "more images": (lambda: shutil.copy("photos/ant/1.png", "photos/ant/a.png"), ["class 'ant' has", "before"]),
    "other names": (lambda: Path("photos/cow/1.png").rename("photos/cow/new.png"), ["class 'cow' has"]),
}


@pytest.mark.parametrize(("change", "done"), [*((change, False) for change in CHANGES), ("renamed", True)])
def test_a_run_of_other_images_is_not_gone_on_with(command: Command, change: str, done: bool) -> None:
    assert command(*WORDS, "name=one").code == 0
    if not done:
        unfinished(RUN)
    before = {path: path.read_bytes() for path in RUN.rglob("*") if path.is_file()}
    make, says = CHANGES[change]
    make()
    ended = command(*WORDS, "name=one", "resume=auto")
    assert ended.code == 2, ended.out + ended.err
    assert all(word in ended.err for word in says), ended.err
    assert {path: path.read_bytes() for path in RUN.rglob("*") if path.is_file()} == before


def test_a_run_of_an_earlier_version_is_compared_by_what_it_noted(command: Command) -> None:
    assert command(*WORDS, "name=one").code == 0
    unfinished(RUN)
    noted = json.loads((RUN / "dataset.json").read_text())
    (RUN / "dataset.json").write_text(json.dumps({k: v for k, v in noted.items() if k not in ("names", "contents")}))
    shutil.copy("photos/ant/1.png", "photos/ant/a.png")
    ended = command(*WORDS, "name=one", "resume=auto")
    assert ended.code == 2 and "class 'ant' has" in ended.err


def test_what_could_not_be_decoded_is_no_difference(command: Command) -> None:
    Path("photos/ant/3.png").write_bytes(b"no picture")
    words = [*WORDS, "name=one", "dataset.on_bad=skip"]
    assert command(*words).code == 0
    assert command(*words, "resume=auto").code == 0
    unfinished(RUN)
    assert command(*words, "resume=auto").code == 0
    unfinished(RUN)
    shutil.copy("photos/ant/1.png", "photos/ant/3.png")
    ended = command(*words, "resume=auto")
    assert ended.code == 2 and "class 'ant' has" in ended.err


def test_a_search_is_not_gone_on_with(command: Command, stop_at: Callable[[int | None], None]) -> None:
    words = [*WORDS, "name=one", "resume=auto", "tune=full", "optimizer.lr=auto", "trainer.epochs=4"]
    stop_at(50)
    assert command(*words).code == 75
    assert list(RUN.glob("search/*/checkpoints/state-*"))
    stop_at(None)
    rename("ant", "yak")
    ended = command(*words)
    assert ended.code == 2 and "class 'ant' is gone" in ended.err


def test_a_finished_teacher_of_other_images_is_refused(command: Command) -> None:
    teacher = ["model=test_convnext", "source=timm", "weights=none", "finetune=true", "epochs=1", "allow_chance=true"]
    words = [*WORDS, "strategy=distill", *[f"strategy.teacher.{word}" for word in teacher], "augment.views=1"]
    assert command(*words, "name=one").code == 0
    (run,) = [path for path in RUN.parent.iterdir() if path.name.startswith("teacher-")]
    swap()
    ended = command(*words, "name=two")
    assert ended.code == 2, ended.out
    assert str(run) in ended.err and "class 'ant' has the images that were of class 'bee'" in ended.err
    swap()
    shutil.copytree("photos/ant", "photos/ape")
    ended = command(*words, "name=two")
    assert ended.code == 2, ended.out
    assert str(run) in ended.err and "class 'ape' is new" in ended.err
    assert not Path("outputs/runs/two").exists()


@pytest.mark.parametrize(
    "words", [["-m", "seed=0,1"], ["mode=compare", "compare.rows=[full]"]], ids=["sweep", "comparison"]
)
def test_several_runs_are_not_gone_on_with(command: Command, words: list[str]) -> None:
    all_words = [*words, *WORDS, "name=several", "resume=auto", "trainer.epochs=1"]
    assert command(*all_words).code == 0
    board = next(path for path in Path("outputs").rglob("*.csv") if path.name in ("leaderboard.csv", "compare.csv"))
    before = board.read_bytes()
    rename("ant", "yak")
    ended = command(*all_words)
    assert ended.code == 2, ended.out
    assert "class 'ant' is gone; class 'yak' is new" in ended.err
    assert board.read_bytes() == before


@pytest.mark.parametrize("change", ["renamed", "added", "removed"])
def test_evaluating_a_runs_own_images_names_what_changed(command: Command, change: str) -> None:
    assert command(*WORDS, "name=one").code == 0
    words = ["mode=evaluate", f"run={RUN}", "trainer.device=cpu"]
    assert command(*words).code == 0
    before = (RUN / "evaluation.json").read_bytes()
    make, says = CHANGES[change]
    make()
    ended = command(*words)
    assert ended.code == 2, ended.out
    assert all(word in ended.err for word in says), ended.err
    assert (RUN / "evaluation.json").read_bytes() == before
    if change == "removed":
        assert command(*words, "dataset=folder", "dataset.path=photos").code == 0


def test_evaluating_images_that_changed_places_is_said(command: Command) -> None:
    assert command(*WORDS, "name=one").code == 0
    swap()
    ended = command("mode=evaluate", f"run={RUN}", "trainer.device=cpu")
    assert "split test holds other images" in ended.out + ended.err


def test_automatic_training_is_not_gone_on_with(command: Command) -> None:
    assert command(*WORDS, "name=one", "trainer.epochs=1").code == 0
    shutil.copytree(RUN, "outputs/auto/own/best")
    rename("ant", "yak")
    ended = command("mode=auto", *WORDS, "trainer.budget=60s", "name=own", "resume=auto", "trainer.device=cpu")
    assert ended.code == 2, ended.out
    assert "outputs/auto/own/best" in ended.err and "class 'yak' is new" in ended.err


def test_labels_that_a_table_changed_are_named(command: Command) -> None:
    lines = [f"photos/{name}/{number}.png,{name}" for name in ("ant", "bee") for number in range(12)]
    words = [*WORDS[:-2], "dataset=manifest", "dataset.path=table.csv", "name=one"]
    Path("table.csv").write_text("\n".join(["path,label", *lines]))
    assert command(*words).code == 0
    unfinished(RUN)
    Path("table.csv").write_text("\n".join(["path,label", lines[0].replace(",ant", ",bee"), *lines[1:]]))
    ended = command(*words, "resume=auto")
    assert ended.code == 2, ended.out
    assert "class 'ant' has" in ended.err


def test_images_without_labels_are_compared_too(command: Command) -> None:
    Path("more").mkdir()
    for number in range(4):
        shutil.copy(f"photos/ant/{number}.png", f"more/{number}.png")
    teacher = [f"strategy.teacher.weights={RUN}", "strategy.teacher.allow_chance=true", "augment.views=1"]
    assert command(*WORDS, "name=one").code == 0
    words = [*WORDS, "strategy=distill", *teacher, "dataset.unlabelled=more", "name=two"]
    assert command(*words).code == 0
    assert command(*words, "resume=auto").code == 0
    unfinished(RUN.with_name("two"))
    assert command(*words, "resume=auto").code == 0
    shutil.copy("photos/ant/7.png", "more/7.png")
    ended = command(*words, "resume=auto")
    assert ended.code == 2, ended.out
    assert "train: the images without a label are others" in ended.err


def test_a_student_of_unlabelled_images_goes_on(command: Command) -> None:
    teacher = [f"strategy.teacher.weights={RUN}", "strategy.teacher.allow_chance=true", "augment.views=1"]
    assert command(*WORDS, "name=one").code == 0
    words = [*WORDS, "strategy=distill", *teacher, "dataset.labels=none", "strategy.loss.ce=0", "name=two"]
    assert command(*words).code == 0
    unfinished(RUN.with_name("two"))
    ended = command(*words, "resume=auto")
    assert ended.code == 0, ended.err
    shutil.copy("photos/ant/7.png", "photos/ant/new.png")
    assert command(*words, "resume=auto").code == 2
