"""Run directories that were cut, edited or mixed up: one message, and never the answer of another network."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import TINY, Ended

Command = Callable[..., Ended]


@pytest.fixture
def run(command: Command) -> Path:
    assert command(*TINY, "name=tiny", "optimizer.lr=0.02").code == 0
    return Path("outputs/runs/tiny")


def edit(file: Path, change: Callable[[dict[str, Any]], object]) -> None:
    values = json.loads(file.read_text())
    change(values)
    file.write_text(json.dumps(values))


def in_use(run: Path) -> list[list[str]]:
    """Commands that use the model of a run."""
    image = next((run / "plots").glob("*.png"))
    return [
        ["mode=predict", f"run={run}", f"input={image}", "trainer.device=cpu"],
        ["mode=evaluate", f"run={run}", "trainer.device=cpu"],
        ["mode=calibrate", f"run={run}"],
        ["mode=explain", f"run={run}", f"input={image}", "trainer.device=cpu"],
        ["mode=export", f"run={run}", "format=safetensors", "export.latency=false"],
        [*TINY, "strategy=distill", f"strategy.teacher.weights={run}", "name=student", "trainer.epochs=1"],
    ]


def refused(ended: Ended, *words: str) -> None:
    assert ended.code == 2, ended.out + ended.err
    assert "Traceback" not in ended.err
    for word in words:
        assert word in ended.err


def test_a_head_that_the_weights_do_not_hold_is_not_drawn_at_random(command: Command, run: Path) -> None:
    four = ["class_0", "class_1", "class_2", "class_3"]
    edit(run / "model.json", lambda about: about.update(classes=four))
    for words in in_use(run):
        refused(command(*words), str(run), "another head")
    edit(run / "model.json", lambda about: about.update(classes=four[:3]))
    assert command(*in_use(run)[0]).code == 0
    edit(run / "model.json", lambda about: about["head"].update(kind="probe", width=64))
    for words in in_use(run):
        refused(command(*words), str(run), "another head")


HUGE = 10**400
WRONG: dict[str, Callable[[dict[str, Any]], object]] = {
    "mean of another kind": lambda about: about["preprocessing"].update(mean=[float("nan")] * 3),
    "deviation of another kind": lambda about: about["preprocessing"].update(std=[float("nan")] * 3),
    "deviation without end": lambda about: about["preprocessing"].update(std=[float("inf")] * 3),
    "deviation of nearly nothing": lambda about: about["preprocessing"].update(std=[1e-308] * 3),
    "a mean of 400 digits": lambda about: about["preprocessing"].update(mean=[HUGE] * 3),
    "more pixels than any training has": lambda about: about["preprocessing"].update(
        crop_pixels=8192, resize_pixels=8192
    ),
    "pixels without end": lambda about: about["preprocessing"].update(crop_pixels=float("inf")),
    "a head without end": lambda about: about["head"].update(width=float("inf")),
    "classes as one text": lambda about: about.update(classes="abc"),
    "classes as a mapping": lambda about: about.update(classes={"a": 1, "b": 2, "c": 3}),
    "classes without names": lambda about: about.update(classes=[None, 1, 2]),
    "no classes": lambda about: about.update(classes=[]),
    "a precision that is none": lambda about: about.update(precision="fp12"),
}


def test_a_description_that_no_run_leaves(command: Command, run: Path) -> None:
    whole = (run / "model.json").read_text()
    for name, change in WRONG.items():
        edit(run / "model.json", change)
        for words in in_use(run)[:2]:
            assert "model.json is damaged" in command(*words).err, name
            refused(command(*words))
        (run / "model.json").write_text(whole)


def test_files_where_folders_are_to_be(command: Command, run: Path) -> None:
    image = next((run / "plots").glob("*.png")).rename("image.png")
    for name in ("explanations", "predict", "export"):
        (run / name).write_text("mine")
    words = {
        "explanations": ["mode=explain", f"input={image}"],
        "predict": ["mode=predict", f"input={image}"],
        "export": ["mode=export", "format=safetensors", "export.latency=false"],
    }
    for name, more in words.items():
        ended = command(*more, f"run={run}")
        assert ended.code in (2, 3), ended.err
        assert name in ended.err and "Traceback" not in ended.err
        assert (run / name).read_text() == "mine"


def test_a_summary_that_no_run_leaves_is_not_calibrated(command: Command, run: Path) -> None:
    for damage in (None, "{}", "[1]", '{"status": '):
        if damage is None:
            whole = (run / "summary.json").read_text()
            (run / "summary.json").unlink()
        else:
            (run / "summary.json").write_text(damage)
        before = (run / "model.safetensors").read_bytes()
        refused(command("mode=calibrate", f"run={run}"), "summary.json is missing or damaged")
        assert (run / "model.safetensors").read_bytes() == before
    (run / "summary.json").write_text(whole)
    for calibration in ([1], "x", {"temperature": "x"}, {"temperature": 1e-300}, {"temperature": -1}):
        edit(run / "summary.json", lambda about, value=calibration: about.update(calibration=value))  # type: ignore[misc]
        ended = command("mode=calibrate", f"run={run}")
        assert ended.code == 0, ended.err
        assert "Warning" not in ended.err
        known = json.loads((run / "summary.json").read_text())["calibration"]
        # By the first its weights were changed, which say themselves by how much.
        assert 0.04 < known["temperature"] < 21 if calibration == [1] else known == calibration


def test_a_calibration_that_was_killed_says_what_the_model_began_with(command: Command, run: Path) -> None:
    summary = (run / "summary.json").read_text()
    assert command("mode=calibrate", f"run={run}").code == 0
    first = json.loads((run / "summary.json").read_text())["calibration"]
    assert first["after"] < first["before"]
    # As if the weights had been written and nothing else.
    (run / "summary.json").write_text(summary)
    assert command("mode=calibrate", f"run={run}").code == 0
    again = json.loads((run / "summary.json").read_text())["calibration"]
    assert again["before"] == pytest.approx(first["before"], abs=1e-6)
    assert again["after"] == pytest.approx(first["after"], abs=1e-6)


def test_what_is_said_of_images_is_of_the_input(
    command: Command, run: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "broken.png").write_text("no image")
    refused(
        command("mode=explain", f"run={run}", "input=broken.png"), "input=broken.png: none is an image that can be read"
    )
    (tmp_path / "photos").mkdir()
    image = next((run / "plots").glob("*.png")).rename("photos/image.png")
    before = image.read_bytes()
    refused(command("mode=predict", f"run={run}", "input=photos", f"output={image}"), "is an image of the input")
    assert image.read_bytes() == before
    refused(command("mode=evaluate", f"run=[{run},./{run}]"), "each run once")
    monkeypatch.setattr("sys.stdin", None)
    refused(command("mode=predict", f"run={run}", "input=-"), "standard input is closed")


def test_a_class_of_two_lines_forges_none(command: Command, run: Path) -> None:
    edit(run / "model.json", lambda about: about.update(classes=["a", "b\nerror: forged", "c"]))
    refused(
        command("mode=evaluate", f"run={run}", "dataset=digits"),
        f"run={run}: ",
        "not trained on class 0, 1, 2, 3, 4 and 5 more.",
    )
    other = run.with_name("other")
    shutil.copytree(run, other)
    edit(other / "model.json", lambda about: about.update(classes=["a", "b", "c"]))
    ended = command("mode=predict", f"run=[{other},{run}]", f"input={next((run / 'plots').glob('*.png'))}")
    refused(ended, r"b\nerror: forged")
    assert not any(line.startswith("error: forged") for line in ended.err.splitlines())


def test_weights_that_have_changed_are_refused(command: Command, run: Path) -> None:
    """A flipped bit of a weight is another weight, and the answers those of another network."""
    weights = bytearray((run / "model.safetensors").read_bytes())
    weights[-50] ^= 64
    (run / "model.safetensors").write_bytes(weights)
    for words in in_use(run):
        refused(command(*words), str(run), "checksum")
