"""mode=explain: a picture an image and a page of all, for convolutions and transformers."""

from __future__ import annotations

import csv
import itertools
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.conftest import TINY, Ended

Command = Callable[..., Ended]
RUN = Path("outputs/runs/a")


def photos(count: int) -> None:
    Path("photos").mkdir()
    rng = np.random.default_rng(0)
    for number in range(count):
        Image.fromarray(rng.integers(0, 255, (40, 40, 3), dtype=np.uint8)).save(f"photos/{number}.png")


@pytest.mark.parametrize("words", [[], ["model.name=test_vit"], ["strategy=extract", "strategy.solver=ridge"]])
def test_chosen_images(command: Command, words: list[str]) -> None:
    photos(3)
    assert command(*TINY, "name=a", "trainer.epochs=1", "quiet=true", *words).code == 0
    ended = command("mode=explain", f"run={RUN}", "input=photos", "explain.images=2", "trainer.device=cpu")
    assert ended.code == 0, ended.err
    files = sorted((RUN / "explanations").iterdir())
    assert [file.name for file in files] == ["000.png", "001.png", "explanations.json", "index.html"]
    with Image.open(files[0]) as picture:
        assert picture.width == 2 * picture.height >= 320
        left, right = np.split(np.asarray(picture.convert("RGB"), np.int64), 2, axis=1)
    # In random features that were never trained nothing need speak for a class.
    assert "strategy=extract" in words or (left != right).any()
    page = files[-1].read_text()
    assert page.count("<img") == 2 and "photos/0.png" in page
    whole = (RUN / "report.html").read_text()
    assert '<h2 id="heat">' in whole and "photos/0.png" in whole and "photos/2.png" not in whole
    assert str(RUN / "explanations") in ended.out


def test_the_worst_mistakes_and_a_class_that_was_asked_for(command: Command) -> None:
    assert command(*TINY, "name=a", "trainer.epochs=1", "optimizer.lr=1e-6", "quiet=true").code == 0
    ended = command("mode=explain", f"run={RUN}", "explain.label=class_1", "trainer.device=cpu")
    assert ended.code == 0, ended.err
    assert "class_1" in ended.out and (RUN / "explanations/000.png").is_file()
    ended = command("mode=explain", f"run={RUN}", "explain.label=class_9", "trainer.device=cpu")
    assert ended.code == 2 and "explain.label=class_9: no such choice" in ended.err


def test_without_mistakes_what_it_was_least_sure_of(command: Command) -> None:
    assert command(*TINY, "name=a", "trainer.epochs=1", "quiet=true").code == 0
    with (RUN / "predictions.csv").open() as file:
        columns, *rows = csv.reader(file)
    guess, label, confidence = (columns.index(name) for name in ("predicted", "label", "confidence"))
    for row in rows:
        row[label] = row[guess]
    with (RUN / "predictions.csv").open("w", newline="") as file:
        csv.writer(file).writerows([columns, *rows])
    ended = command("mode=explain", f"run={RUN}", "explain.images=2", "trainer.device=cpu")
    assert ended.code == 0, ended.err
    shown = json.loads((RUN / "explanations/explanations.json").read_text())["shown"]
    assert [one["image"] for one in shown] == [
        row[0] for row in sorted(rows, key=lambda row: float(row[confidence]))[:2]
    ]


def test_what_changed_since_is_named_on_the_page(command: Command) -> None:
    photos(2)
    assert command(*TINY, "name=a", "trainer.epochs=1", "quiet=true").code == 0
    assert command("mode=explain", f"run={RUN}", "input=photos", "trainer.device=cpu").code == 0
    (RUN / "explanations/001.png").write_bytes(b"no picture")
    assert command("mode=report", f"run={RUN}").code == 0
    page = (RUN / "report.html").read_text()
    assert "explanations/001.png cannot be read as a picture" in page and "photos/0.png" in page
    (RUN / "explanations/explanations.json").write_text('{"shown": [3]}')
    assert command("mode=report", f"run={RUN}").code == 0
    page = (RUN / "report.html").read_text()
    assert "holds something else than explanations" in page and "photos/0.png" not in page


def test_what_cannot_be_shown_is_said(command: Command) -> None:
    assert command(*TINY, "name=a", "trainer.epochs=0", "quiet=true").code == 0
    ended = command("mode=explain", f"run={RUN}", "input=nowhere")
    assert ended.code == 2 and "nowhere" in ended.err
    assert not (RUN / "explanations").exists()
    ended = command("explain.images=3")
    assert ended.code == 2 and "explain: only mode=explain reads its keys." in ended.err


def in_order() -> list[Path]:
    """The test images as they are shown: what the run is surest of and wrong about, then what it is least sure of."""
    with (RUN / "predictions.csv").open() as file:
        rows = [*csv.DictReader(file)]
    wrong = [row for row in rows if row["label"] != row["predicted"]]
    wrong.sort(key=lambda row: -float(row["confidence"]))
    rows.sort(key=lambda row: float(row["confidence"]))
    return [Path(row["path"]) for row in (*wrong, *(row for row in rows if row not in wrong))]


def test_what_cannot_be_read_is_left_out(command: Command) -> None:
    rng = np.random.default_rng(0)
    for split, label, number in itertools.product(("train", "val", "test"), "ab", range(4)):
        place = Path(f"data/{split}/{label}/{number}.png")
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (40, 40, 3), dtype=np.uint8)).save(place)
    words = [word for word in TINY if not word.startswith("dataset")]
    ended = command(*words, "dataset=folder", "dataset.path=data", "name=a", "trainer.epochs=1", "quiet=true")
    assert ended.code == 0, ended.err
    first, second, *others = in_order()
    asked = ("mode=explain", f"run={RUN}", "trainer.device=cpu")
    assert command(*asked).code == 0
    files = sorted(file.name for file in (RUN / "explanations").iterdir())
    assert files[-3:] == [f"{len(others) + 1:03d}.png", "explanations.json", "index.html"]
    first.write_bytes(b"no picture")
    second.unlink()
    ended = command(*asked)
    assert ended.code == 0 and f"left out: {first}: cannot be decoded" in ended.out, ended.err
    assert f"left out: {second} is no image of the test split any more" in ended.out
    shown = [f"{number:03d}.png" for number in range(len(others))]
    assert sorted(file.name for file in (RUN / "explanations").iterdir()) == [*shown, "explanations.json", "index.html"]
    for file in others:
        file.write_bytes(b"no picture")
    ended = command(*asked)
    assert ended.code == 2 and "none of its test images is an image that can be read" in ended.err
    ended = command(*asked, f"input={first}")
    assert ended.code == 2 and f"input={first}: none is an image that can be read" in ended.err
    ended = command(*asked, "input=data/train/a/0.png", "dataset.max_pixels=100")
    assert ended.code == 2 and "40 x 40 pixels, above the cap of 100" in ended.out


def test_a_run_that_is_named_from_within_has_its_name(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    photos(1)
    place = Path("photos").absolute()
    assert command(*TINY, "name=a", "trainer.epochs=1", "quiet=true").code == 0
    monkeypatch.chdir(RUN)
    ended = command("mode=explain", "run=.", f"input={place}", "trainer.device=cpu", "seed=3")
    assert ended.code == 0 and "warning: seed=3: has no effect" in ended.out, ended.err
    assert "<h1>a</h1>" in Path("explanations/index.html").read_text()
