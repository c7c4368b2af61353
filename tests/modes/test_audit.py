"""mode=audit: what it lists of a folder with wrong labels and copies, and what it says where it can say nothing."""

from __future__ import annotations

import csv
import json
import os
import platform
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.conftest import Ended
from transfer_cli.methods.label_errors import HeldOut, held_out
from transfer_cli.runs.audit import findings

Command = Callable[..., Ended]
MODEL = ["model.name=test_resnet", "model.source=timm", "model.weights=none", "image_size=32", "trainer.device=cpu"]
AUDIT = Path("outputs/audits/a")
COLOURS = {"blue": (30, 60, 200), "green": (40, 180, 60), "red": (210, 40, 30)}


def rows(name: str) -> list[dict[str, str]]:
    with (AUDIT / name).open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def photos() -> None:
    rng = np.random.default_rng(0)
    for name, colour in COLOURS.items():
        for number in range(30):
            noise = rng.integers(-25, 25, (24, 24, 3))
            file = Path("photos", name, f"{name}{number}.png")
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.clip(colour + noise, 0, 255).astype(np.uint8)).save(file)


@pytest.mark.usefixtures("photos")
def test_wrong_labels_come_first_and_copies_are_found(command: Command) -> None:
    Path("photos/red/red3.png").rename("photos/blue/odd.png")
    Path("photos/green/copy.png").write_bytes(Path("photos/red/red5.png").read_bytes())
    words = ["mode=audit", *MODEL, "dataset=folder", "dataset.path=photos", "name=a", "audit.show=5"]
    ended = command(*words)
    assert ended.code == 0, ended.err
    labels = rows("labels.csv")
    assert len(labels) == 91
    first = {Path(row["path"]).name: row for row in labels[:2]}
    assert {*first} == {"odd.png", "copy.png"}
    assert {(row["suggested"], row["likely_wrong"]) for row in first.values()} == {("red", "yes")}
    chances = [float(row["p_label"]) for row in labels]
    assert chances == sorted(chances)
    pairs = rows("duplicates.csv")
    top = {Path(pairs[0][key]).name for key in ("path", "other_path")}
    assert top == {"copy.png", "red5.png"} and float(pairs[0]["similarity"]) == pytest.approx(1, abs=1e-3)
    about = json.loads((AUDIT / "audit.json").read_text())
    assert about["labelled"] == 91 and about["likely_wrong"] >= 2
    page = (AUDIT / "report.html").read_text()
    assert "odd.png" in page and page.count("<li>") >= 7 and page.count("data:image/png") >= 7
    assert "odd.png" in ended.out and "labels likely wrong" in ended.out
    assert not Path("outputs/runs").exists()
    ended = command(*words)
    assert ended.code == 2 and "name=a" in ended.err


@pytest.mark.usefixtures("photos")
def test_a_signal_ends_it_between_two_heads(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def judged(*args: Any) -> HeldOut:
        os.kill(os.getpid(), signal.SIGTERM)
        return held_out(*args)

    monkeypatch.setattr(findings, "held_out", judged)
    ended = command("mode=audit", *MODEL, "dataset=folder", "dataset.path=photos", "name=a")
    assert ended.code == 75 and "while labels were judged" in ended.err, ended.out + ended.err
    assert not AUDIT.exists()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["dataset.labels=none"], "dataset.labels=none: mode=audit looks for wrong labels"),
        (["audit.folds=1"], "audit.folds=1"),
        (["audit.similarity=2"], "audit.similarity=2"),
        (["mode=train", "audit.folds=3"], "audit: only mode=audit reads its keys."),
    ],
)
@pytest.mark.usefixtures("photos")
def test_what_cannot_be_is_said(command: Command, words: list[str], says: str) -> None:
    ended = command("mode=audit", *MODEL, "dataset=folder", "dataset.path=photos", *words)
    assert ended.code == 2 and says in ended.err, ended.err
    assert not Path("outputs").exists()


def test_words_that_say_how_to_train_are_named(command: Command) -> None:
    words = ["dataset=fake", "dataset.samples=60", "augment=light", "trainer.epochs=2", "strategy=finetune"]
    ended = command("mode=audit", *MODEL, *words)
    assert ended.code == 0, ended.err
    assert re.findall(r"warning: (\S+): has no effect", ended.out) == words[2:]


@pytest.mark.usefixtures("photos")
def test_one_that_was_killed_while_it_was_written_is_made_again(command: Command) -> None:
    words = ["mode=audit", *MODEL, "dataset=folder", "dataset.path=photos", "name=a"]
    assert command(*words).code == 0
    whole = (AUDIT / "labels.csv").read_bytes()
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()

    def left_by(process: int) -> None:
        (AUDIT / "report.html").unlink(missing_ok=True)
        (AUDIT / "labels.csv").write_text("half")
        (AUDIT / ".report.html.0123abcd.writing").write_text("half")
        holder = {"host": platform.node(), "pid": process, "since": "now"}
        (AUDIT / ".holder.json").write_text(json.dumps(holder))

    left_by(os.getpid())
    ended = command(*words)
    assert ended.code == 2 and "name=a" in ended.err, "somebody is at it"
    left_by(gone.pid)
    ended = command(*words)
    assert ended.code == 0, ended.err
    assert (AUDIT / "labels.csv").read_bytes() == whole and (AUDIT / "report.html").is_file()
    assert not [*AUDIT.glob("*.writing")] and not (AUDIT / ".holder.json").exists()
    assert command(*words).code == 2, "now it is whole"


def test_too_few_images_are_only_compared(command: Command) -> None:
    for number in range(6):
        file = Path("photos", "ab"[number % 2], f"{number}.png")
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (24, 24), (number * 40, 90, 90)).save(file)
    ended = command("mode=audit", *MODEL, "dataset=folder", "dataset.path=photos", "name=a")
    assert ended.code == 0, ended.err
    assert "too few to say which labels are wrong" in ended.out
    assert rows("labels.csv") == []
