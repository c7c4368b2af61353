"""mode=predict: where images come from and rows go, ensembles, views, thresholds, and what cannot be read."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.conftest import TINY, Ended

Command = Callable[..., Ended]
CPU = "trainer.device=cpu"


@pytest.fixture
def run(command: Command) -> Path:
    assert command(*TINY, "trainer.epochs=1", "augment.flip=0.5", "name=tiny").code == 0
    return Path("outputs/runs/tiny")


def make(count: int, broken: int = 0) -> list[str]:
    """Pictures in files of their own, the last of each `count / broken` damaged; the paths of the others."""
    random = np.random.default_rng(0)
    Path("photos").mkdir()
    good = []
    for number in range(count):
        path = f"photos/{number:04d}.png"
        Image.fromarray(random.integers(0, 256, (32, 40, 3), dtype=np.uint8)).save(path)
        if broken and (number + 1) % (count // broken) == 0:
            Path(path).write_bytes(b"no picture")
        else:
            good.append(path)
    return good


def rows(file: str = "out.csv") -> list[dict[str, str]]:
    with open(file) as table:
        return list(csv.DictReader(table))


@pytest.mark.parametrize("count", [200, pytest.param(2000, marks=pytest.mark.slow)])
def test_broken_images_are_told_and_all_others_labelled_in_their_order(command: Command, run: Path, count: int) -> None:
    good = make(count, broken=10)
    words = ["mode=predict", f"run={run}", CPU, "input=photos", "output=out.csv"]
    ended = command(*words)
    assert ended.code == 0, ended.err
    assert [row["path"] for row in rows()] == good
    assert f"{count - 10:,} images predicted, 10 left out" in ended.out
    assert ended.out.count("warning: left out: photos/") == 10
    expected = rows()
    Path("out.csv").unlink()
    strict = command(*words, "predict.strict=true", "trainer.workers=0")
    assert strict.code == 3
    assert f"10 of {count:,} images could not be read" in strict.err
    assert rows() == expected


def test_several_runs_are_averaged_by_the_names_of_their_classes(command: Command, run: Path) -> None:
    assert command(*TINY, "trainer.epochs=1", "seed=1", "image_size=40", "name=other").code == 0
    other = run.with_name("other")
    about = json.loads((other / "model.json").read_text())
    turned = [*about["classes"][1:], about["classes"][0]]
    (other / "model.json").write_text(json.dumps({**about, "classes": turned}))
    make(5)
    found = {}
    for name, runs in {"a": str(run), "b": str(other), "both": f"[{run},{other}]"}.items():
        words = ["mode=predict", f"run={runs}", CPU, "input=photos", f"output={name}.csv", "predict.top_k=9"]
        ended = command(*words)
        assert ended.code == 0, ended.err
        assert "predict.top_k=9: there are 3 classes" in ended.out
        found[name] = [_by_class(row) for row in rows(f"{name}.csv")]
    for a, b, both in zip(found["a"], found["b"], found["both"], strict=True):
        assert both == pytest.approx({label: (a[label] + b[label]) / 2 for label in a})
    (other / "model.json").write_text(json.dumps({**about, "classes": ["0", "1", "horse"]}))
    ended = command("mode=predict", f"run=[{run},{other}]", CPU, "input=photos", "output=wrong.csv")
    assert ended.code == 2
    assert "its classes are not those of" in ended.err and "knows 0, 1, horse" in ended.err
    assert not Path("wrong.csv").exists()


def _by_class(row: dict[str, str]) -> dict[str, float]:
    endings = ["", "_2", "_3"]
    return {row[f"label{ending}"]: float(row[f"probability{ending}"]) for ending in endings}


def test_views_change_probabilities_and_a_threshold_labels(command: Command, run: Path) -> None:
    names = make(3)
    words = ["mode=predict", f"run={run}", CPU, "output=out.csv"]
    assert command(*words, "input=photos").code == 0
    plain = rows()
    middle = sorted(float(row["probability"]) for row in plain)[1]
    assert command(*words, "input=photos", f"predict.threshold={middle}").code == 0
    assert [row["probability"] for row in rows()] == [row["probability"] for row in plain]
    unknown = [row["label"] == "unknown" for row in rows()]
    assert unknown == [float(row["probability"]) < middle for row in plain] and sum(unknown) == 1

    assert command(*words, "input=photos", "predict.views=4").code == 0
    viewed = rows()
    assert [row["probability"] for row in viewed] != [row["probability"] for row in plain]
    assert command(*words, f"input={names[2]}", "predict.views=4").code == 0  # alone it is seen as among others
    assert rows()[0]["probability"][:6] == viewed[2]["probability"][:6]


def test_rows_come_as_paths_do_and_a_reader_may_leave(run: Path) -> None:
    names = make(3)
    words = ["mode=predict", f"run={run}", CPU, "input=-", "format=jsonl"]
    process = subprocess.Popen(
        [sys.executable, "-m", "transfer_cli", *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert process.stdin is not None and process.stdout is not None and process.stderr is not None
    for name in (names[0], "gone.png", names[1]):
        process.stdin.write(f"{name}\n".encode())
        process.stdin.flush()
        if name in names:  # which is read before the next is written
            assert json.loads(process.stdout.readline())["path"] == name
    process.stdout.close()
    process.stdin.write(f"{names[2]}\n".encode())
    process.stdin.close()
    said = process.stderr.read().decode()
    assert process.wait(timeout=300) == 0, said
    assert "left out: gone.png: cannot be decoded (no such file or directory)" in said
    assert "Traceback" not in said
    process.stderr.close()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["input=photos/*.gif"], "input=photos/*.gif: nothing matches this pattern"),
        (["input=photos/list.txt", "output=photos/list.txt"], "is the input, which is never changed"),
        (["input=photos", "format=json"], "format=json: expected one of auto, csv, jsonl"),
        (["input=photos", "format=onnx"], "format=onnx: mode=predict writes csv, jsonl; format=auto chooses"),
        (["input=photos", "predict.treshold=0.5"], "predict.threshold"),
    ],
)
def test_what_cannot_be_meant_is_told(command: Command, words: list[str], message: str) -> None:
    Path("run").mkdir()
    Path("run/model.json").write_text("{}")
    make(1)
    Path("photos/list.txt").write_text("0000.png")
    ended = command("mode=predict", "run=run", *words)
    assert ended.code == 2
    assert message in ended.err
    assert Path("photos/list.txt").read_text() == "0000.png"
