"""mode=soup: averages of a sweep's runs, the best on validation kept as a run that others can use."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from tests.conftest import TINY, Ended, summary
from transfer_cli.errors import UserError
from transfer_cli.methods import soups
from transfer_cli.runs.soup import keeping

Command = Callable[..., Ended]
SWEEP = Path("outputs/sweeps/s")


def sweep(command: Command, *words: str) -> list[Path]:
    ended = command("-m", *TINY, "name=s", "trainer.epochs=1", "quiet=true", *words)
    assert ended.code == 0, ended.err
    return sorted(path.parent for path in SWEEP.glob("*/summary.json"))


def key(row: dict[str, Any]) -> tuple[float, float]:
    return row["val"]["accuracy"], -row["val"]["loss"]


def test_what_is_kept_is_the_best_on_validation(command: Command) -> None:
    runs = sweep(command, "optimizer.lr=1e-3,2e-2", "augment.flip=0,0.5")
    ended = command("mode=soup", f"sweep={SWEEP}", "name=soup")
    assert ended.code == 0, ended.err
    found = json.loads(Path("outputs/runs/soup/soup.json").read_text())
    rows = {row["recipe"]: row for row in found["recipes"]}
    assert {*rows} == {"best run", "greedy soup", "uniform soup"}, "random weights are no start to go back to"
    assert sorted(rows["uniform soup"]["runs"]) == sorted(run.name for run in runs)
    best = max(rows.values(), key=key)
    assert key(rows[found["chosen"]]) == key(best)
    assert key(rows["greedy soup"]) >= key(rows["best run"])
    assert rows["best run"]["val"]["loss"] == pytest.approx(summary(SWEEP / rows["best run"]["runs"][0])["val"]["loss"])
    kept = load_file("outputs/runs/soup/model.safetensors")
    several = [load_file(SWEEP / name / "model.safetensors") for name in rows[found["chosen"]]["runs"]]
    for name, tensor in kept.items():
        if tensor.is_floating_point():
            torch.testing.assert_close(tensor, torch.stack([one[name] for one in several]).mean(0))
    assert summary("outputs/runs/soup")["test"] == rows[found["chosen"]]["test"]
    ended = command("mode=evaluate", "run=outputs/runs/soup", "split=val")
    assert ended.code == 0, ended.err
    scores = json.loads(Path("outputs/runs/soup/evaluation.json").read_text())
    assert scores["accuracy"] == rows[found["chosen"]]["val"]["accuracy"]
    page = Path("outputs/runs/soup/report.html").read_text()
    assert f"of a soup&#39;s recipes: {found['chosen']}" in page
    assert "What repeats it" not in page, "its config.yaml would train the best run"
    assert "None" not in page


def test_images_in_files(command: Command) -> None:
    for number in range(36):
        file = Path("photos", "abc"[number % 3], f"{number}.png")
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 36), (number * 7, 90, 90)).save(file)
    words = [word for word in TINY if not word.startswith("dataset")]
    ended = command("-m", *words, "dataset=folder", "dataset.path=photos", "name=s", "optimizer.lr=1e-3,1e-4")
    assert ended.code == 0, ended.err
    ended = command("mode=soup", f"sweep={SWEEP}", "name=soup")
    assert ended.code == 0, ended.err
    assert json.loads(Path("outputs/runs/soup/soup.json").read_text())["ensemble"].keys() == {"val", "test"}


def test_the_way_back_to_the_start_is_tried(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    assert command(*TINY, "name=start", "trainer.epochs=1", "quiet=true").code == 0
    sweep(command, "optimizer.lr=1e-3,2e-2", "model.weights=outputs/runs/start")
    monkeypatch.setattr(soups, "STEPS", (1.0,))
    ended = command("mode=soup", f"sweep={SWEEP}", "name=soup")
    assert ended.code == 0, ended.err
    rows = {row["recipe"]: row for row in json.loads(Path("outputs/runs/soup/soup.json").read_text())["recipes"]}
    assert rows["wise_ft 1"] == {**rows["best run"], "recipe": "wise_ft 1"}, "all of the best run, nothing of its start"
    calibrated = SWEEP / rows["best run"]["runs"][0]
    tensors = load_file(calibrated / "model.safetensors")
    sharper = {name: 4 * tensor if name.startswith("fc.") else tensor for name, tensor in tensors.items()}
    save_file(sharper, calibrated / "model.safetensors")
    about = json.loads((calibrated / "model.json").read_text())
    (calibrated / "model.json").write_text(json.dumps({**about, "temperature": 0.25}))
    assert command("mode=soup", f"sweep={SWEEP}", "name=again").code == 0
    again = json.loads(Path("outputs/runs/again/soup.json").read_text())["recipes"]
    assert again == [*rows.values()], "runs go together as they were trained"
    assert "temperature" not in json.loads(Path("outputs/runs/again/model.json").read_text())


@pytest.mark.slow
def test_a_soup_that_was_killed_is_made_again_under_its_name(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    sweep(command, "optimizer.lr=1e-3,2e-2")
    words = ["mode=soup", f"sweep={SWEEP}", "name=soup", "resume=auto", "quiet=true"]

    def killed(*_: object, **__: object) -> None:
        raise SystemExit

    for place in ("replace_tensors", "write_summary"):
        with monkeypatch.context() as patched:
            patched.setattr(keeping, place, killed)
            with pytest.raises(SystemExit):
                command(*words)
        assert "exists" in command(*words[:-2]).err
    assert command(*words).code == 0
    made = {path: path.stat().st_mtime_ns for path in Path("outputs/runs/soup").iterdir()}
    ended = command(*words)
    assert (ended.code, ended.out) == (0, "outputs/runs/soup\n")
    assert {path: path.stat().st_mtime_ns for path in Path("outputs/runs/soup").iterdir()} == made


@pytest.mark.parametrize(
    ("kept", "says"),
    [
        ({"soup.json": '{"of": "other"}'}, "the soup of other"),
        ({"soup.json": "{}"}, "no soup"),
        ({"soup.json": "[1"}, "no soup"),
        ({"config.yaml": "", "model.safetensors": ""}, "no soup"),
        ({"soup.json": '{"of": "sweep"}'}, None),
        ({".lock": ""}, None),
    ],
)
def test_only_what_is_left_of_the_same_soup_is_written_again(
    tmp_path: Path, kept: dict[str, str], says: str | None
) -> None:
    for name, content in kept.items():
        (tmp_path / name).write_text(content)
    if says is None:
        assert not keeping.is_done(tmp_path, Path("sweep"), ["1"])
    else:
        with pytest.raises(UserError, match=says):
            keeping.is_done(tmp_path, Path("sweep"), ["1"])


def test_a_soup_is_done_while_the_sweep_has_the_runs_it_had(tmp_path: Path) -> None:
    about = {"of": "sweep", "recipes": [{"runs": ["1"]}, {"runs": ["1", "2"]}]}
    (tmp_path / "soup.json").write_text(json.dumps(about))
    (tmp_path / "summary.json").write_text(json.dumps({"status": "completed"}))
    assert keeping.is_done(tmp_path, Path("sweep"), ["2", "1"])
    for runs, says in (
        (["1", "2", "3"], "the soup of 2 runs of sweep, which by now has 3"),
        (["1", "3"], "has others"),
    ):
        with pytest.raises(UserError, match=says):
            keeping.is_done(tmp_path, Path("sweep"), runs)


def test_runs_that_validate_each_others_training_images_are_refused(command: Command) -> None:
    sweep(command, "seed=0,1")
    ended = command("mode=soup", f"sweep={SWEEP}", "name=soup")
    assert ended.code == 2
    assert "split their images otherwise" in ended.err
    assert not Path("outputs/runs").exists()
    assert "dataset.split_seed=0 gives all seeds the same images" in ended.err


def test_seeds_that_share_a_split_make_a_soup(command: Command) -> None:
    runs = sweep(command, "seed=0,1", "dataset.split_seed=0")
    ended = command("mode=soup", f"sweep={SWEEP}", "name=soup")
    assert ended.code == 0, ended.err
    assert (runs[0] / "predictions.csv").read_text() != (runs[1] / "predictions.csv").read_text()
    paths = [[line.split(",")[:2] for line in (run / "predictions.csv").read_text().splitlines()] for run in runs]
    assert paths[0] == paths[1]


def test_seeds_whose_splits_are_folders_make_a_soup(command: Command) -> None:
    """The most usual one: each has trained on the same images, in another order."""
    for number in range(36):
        file = Path("photos", ("train", "val", "test")[number // 12], "abc"[number % 3], f"{number}.png")
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 36), (number * 7, 90, 90)).save(file)
    words = [word for word in TINY if not word.startswith("dataset")]
    words += ["dataset=folder", "dataset.path=photos", "name=s", "trainer.epochs=1"]
    assert command("-m", *words, "seed=0,1").code == 0
    ended = command("mode=soup", f"sweep={SWEEP}", "name=soup")
    assert ended.code == 0, ended.err
    # One image of validation is another one now, under its name.
    Image.new("RGB", (40, 36), (0, 0, 0)).save("photos/val/a/12.png")
    assert command("-m", *words, "seed=2", "resume=auto").code == 0
    ended = command("mode=soup", f"sweep={SWEEP}", "name=again")
    assert ended.code == 2 and "split their images otherwise" in ended.err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "sweep: mode=soup needs sweep=<folder of a sweep>"),
        (["sweep=nowhere"], "sweep=nowhere: no such file or folder"),
        (["sweep=."], "sweep=.: has 0 completed finetuned runs; a soup needs two or more."),
    ],
)
def test_wrong_folders(command: Command, words: list[str], says: str) -> None:
    ended = command("mode=soup", *words)
    assert ended.code == 2
    assert says in ended.err


def test_members_that_no_run_leaves(command: Command) -> None:
    first, *_ = sweep(command, "optimizer.lr=1e-3,2e-2")
    whole = {name: (first / name).read_bytes() for name in ("summary.json", "model.safetensors", "dataset.json")}

    def soup(*words: str) -> Ended:
        for name, content in whole.items():
            (first / name).write_bytes((first / name).read_bytes() if name == damaged else content)
        return command("mode=soup", f"sweep={SWEEP}", "name=soup", *words)

    damaged = "summary.json"
    for val in ("x", [1], {"accuracy": "x", "loss": 1}, {"accuracy": 1}, {"accuracy": None, "loss": None}):
        (first / damaged).write_text(json.dumps({**json.loads(whole[damaged]), "val": val}))
        ended = soup()
        assert ended.code == 2 and f"{first.name}: summary.json has no" in ended.err
    damaged = "model.safetensors"
    tensors = load_file(first / damaged)
    save_file({**tensors, "fc.bias": tensors["fc.bias"][:2].clone()}, first / damaged)
    ended = soup()
    assert ended.code == 2 and "fc.bias has shape [2], not [3]" in ended.err
    assert not Path("outputs/runs/soup").exists()


def test_a_soup_whose_account_was_edited(command: Command) -> None:
    for run in sweep(command, "optimizer.lr=1e-3,2e-2"):
        (run / "dataset.json").unlink()
    words = ("mode=soup", f"sweep={SWEEP}", "name=soup", "resume=auto")
    assert command(*words).code == 0, "runs of before it was kept"
    soup = Path("outputs/runs/soup")
    (soup / "report.html").unlink()
    assert command(*words).code == 0 and (soup / "report.html").is_file(), "as after a kill that came before the page"
    about = json.loads((soup / "soup.json").read_text())
    for recipes in ([1], "x", [{"runs": 1}], [{}], None):
        (soup / "soup.json").write_text(json.dumps({**about, "recipes": recipes}))
        ended = command(*words)
        assert ended.code == 2 and "soup.json is damaged" in ended.err
