"""mode=compare: the same images for every row, ranked by validation alone, going on where it was stopped."""

from __future__ import annotations

import csv
import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import TINY, Ended, experiment, start, summary
from transfer_cli.command.overrides import parse_overrides
from transfer_cli.command.recipes import Recipe, under_recipes
from transfer_cli.command.source import ConfigSource, conf_dir
from transfer_cli.config.parse import parse
from transfer_cli.methods.comparison import spread
from transfer_cli.modes import compare
from transfer_cli.rundir import saved_experiment
from transfer_cli.runs.several.comparison import Row, by_validation

Command = Callable[..., Ended]
FOLDER = Path("outputs/compare/one")
SHORT = [*TINY, "mode=compare", "trainer.epochs=1", "name=one"]
STOPPED = [word for word in SHORT if not word.startswith(("trainer.epochs", "dataset.samples"))]
STOPPED = [*STOPPED, "dataset.samples=150", "trainer.epochs=5", "resume=auto"]
STOPPED = [*STOPPED, "compare.rows=[probe,full]", "compare.seeds=1"]
SOURCE = ConfigSource(conf_dir(), "config", None)


def result() -> dict[str, Any]:
    content = json.loads((FOLDER / "compare.json").read_text())
    assert isinstance(content, dict)
    return content


def recipes(*words: str, rows: tuple[str, ...], strategy: str = "finetune") -> dict[str, Recipe]:
    found = under_recipes(SOURCE, parse_overrides(list(words)), strategy, rows, "compare.rows")
    return {recipe.name: recipe for recipe in found}


def row(name: str, *, val: float, test: float) -> Row:
    """A complete row over two seeds."""
    scores = (val - 0.01, val + 0.01)
    return Row(name, "finetune", 2, 0, spread(scores), spread([test, test]), spread([9, 9]), 1, 1, 1.0, 1, None, scores)


def test_a_table_a_picture_and_ordinary_runs(command: Command) -> None:
    ended = command(*SHORT, "compare.rows=[scratch,probe,lora]", "compare.seeds=2")
    assert ended.code == 0, ended.err
    runs = {f"{row}-seed{seed}" for row in ("scratch", "probe", "lora") for seed in (0, 1)}
    assert {path.name for path in FOLDER.iterdir() if path.is_dir()} == {*runs, "plots"}
    assert (FOLDER / "plots" / "compare.png").read_bytes().startswith(b"\x89PNG")
    assert ended.out.splitlines()[-1] == str(FOLDER)
    page = (FOLDER / "report.html").read_text()
    assert all(f'href="{run}/report.html"' in page for run in runs)
    assert result()["recommendation"]["reason"] in ended.out
    assert all(run["seconds"] > 0 for run in result()["runs"])
    # Every row saw the same images at the same size.
    for seed in (0, 1):
        told = {(FOLDER / f"{row}-seed{seed}" / "dataset.json").read_text() for row in ("scratch", "probe", "lora")}
        assert len(told) == 1
        saved = [saved_experiment(FOLDER / f"{row}-seed{seed}") for row in ("scratch", "probe", "lora")]
        assert len({(one.dataset, one.seed, one.image_size, one.image_fit) for one in saved}) == 1
    rows = {row["row"]: row for row in result()["rows"]}
    scores = [summary(FOLDER / f"lora-seed{seed}")["val"]["accuracy"] for seed in (0, 1)]
    assert rows["lora"]["val"]["mean"] == pytest.approx(sum(scores) / 2)
    means = [row["val"]["mean"] for row in result()["rows"]]
    assert means == sorted(means, reverse=True)
    # What LoRA trains is more than the head and less than everything; merged, it is the plain network.
    trainable = {name: row["trainable_parameters"] for name, row in rows.items()}
    assert trainable["probe"] < trainable["lora"] < trainable["scratch"]
    assert rows["lora"]["model_bytes"] == rows["scratch"]["model_bytes"]
    assert rows["lora"]["images_per_second"] == rows["scratch"]["images_per_second"] > 0
    with (FOLDER / "compare.csv").open() as file:
        table = list(csv.DictReader(file))
    assert [row["row"] for row in table] == [row["row"] for row in result()["rows"]]
    assert all(float(row["seconds_mean"]) > 0 and row["metric"] == "accuracy" for row in table)


@pytest.mark.slow
def test_the_same_command_trains_only_what_is_missing(command: Command) -> None:
    words = [*SHORT, "compare.rows=[probe,lora]", "compare.seeds=1", "resume=auto"]
    assert command(*words).code == 0
    before = {path: path.stat().st_mtime_ns for path in FOLDER.glob("*/summary.json")}
    took = {row["row"]: row["seconds"]["mean"] for row in result()["rows"]}
    (FOLDER / "lora-seed0" / "summary.json").unlink()
    assert command(*words).code == 0
    changed = {path.parent.name for path, written in before.items() if path.stat().st_mtime_ns != written}
    assert changed == {"lora-seed0"}
    again = {row["row"]: row["seconds"]["mean"] for row in result()["rows"]}
    assert again["probe"] == took["probe"] and again["lora"] > took["lora"]
    ended = command(*words, "optimizer.weight_decay=0.5")
    assert ended.code == 2
    assert "optimizer.weight_decay=0.5" in ended.err


def test_a_kill_while_a_page_was_written_leaves_nothing(command: Command) -> None:
    words = [*SHORT, "compare.rows=[probe,lora]", "compare.seeds=1"]
    assert command(*words).code == 0
    run = FOLDER / "lora-seed0"
    (run / "report.html").rename(run / ".report.html.0a1b2c3d.writing")
    assert command(*words, "resume=auto").code == 0
    assert (run / "report.html").is_file() and not list(run.glob(".*writing"))


@pytest.mark.slow
def test_killed_in_the_second_run_and_resumed(command: Command) -> None:
    process = start(*STOPPED)
    log = FOLDER / "full-seed0" / "metrics.jsonl"
    until = time.monotonic() + 90
    while not (log.exists() and '"epoch": 2, "split": "val"' in log.read_text()):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until
        time.sleep(0.01)
    process.kill()
    process.communicate()
    assert_goes_on(command)


def test_a_signal_in_the_second_run_ends_the_command_with_its_code(
    command: Command, stop_at: Callable[[int | None], None]
) -> None:
    stop_at(20)
    ended = command(*STOPPED)
    assert ended.code == 75
    assert "full-seed0" in ended.err and "name=one resume=auto" in ended.err
    stop_at(None)
    assert_goes_on(command)


def assert_goes_on(command: Command) -> None:
    """The first run is kept, the second one goes on from its state."""
    assert summary(FOLDER / "probe-seed0")["status"] == "completed"
    assert [row["row"] for row in result()["rows"] if row["completed"]] == ["probe"]
    ended = command(*STOPPED)
    assert ended.code == 0, ended.err
    assert "resuming at epoch" in ended.out and "complete already" in ended.out
    assert {row["completed"] for row in result()["rows"]} == {1}


def test_a_row_that_fails_leaves_the_others_alone(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = Path("mine/experiment")
    mine.mkdir(parents=True)
    (mine / "wild.yaml").write_text("# @package _global_\n# A rate that no training survives\noptimizer:\n  lr: 1e30\n")
    words = ["--config-dir", "mine", *SHORT, "trainer.epochs=2", "compare.rows=[wild,probe]", "compare.seeds=1"]
    ended = command(*words)
    assert ended.code == 3
    assert "wild: 1 of 1 runs failed" in ended.out and "not finite" in ended.err
    assert [(row["row"], row["failed"]) for row in result()["rows"]] == [("probe", 0), ("wild", 1)]
    assert result()["recommendation"]["name"] == "probe"


def test_a_named_teacher_makes_a_row_of_its_own(command: Command) -> None:
    assert command(*TINY, "name=teacher").code == 0
    teacher = [
        "strategy=distill",
        "strategy.teacher.weights=outputs/runs/teacher",
        "strategy.teacher.allow_chance=true",
    ]
    ended = command(*SHORT, *teacher, "compare.rows=[probe]", "compare.seeds=1")
    assert ended.code == 0, ended.err
    assert {row["row"]: row["strategy"] for row in result()["rows"]} == {"probe": "extract", "distill": "distill"}
    assert "strategy.teacher.allow_chance=true: not for probe" in ended.out


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["compare.rows=[lora,lp_tf]"], ["compare.rows=lp_tf", "Did you mean lp_ft?"]),
        (["compare.rows=[]"], ["compare.rows=[]"]),
        (["compare.rows=[lora,lora]"], ["each recipe once"]),
        (["compare.rows=[distill]"], ["distill needs a teacher"]),
        (["compare.seeds=0"], ["compare.seeds=0"]),
        (["experiment=lora"], ["experiment=lora", "compare.rows"]),
        (["trainer.epochs=0"], ["nothing trains"]),
        (["strategy.label_smoothing=2"], ["strategy.label_smoothing=2"]),
        (["+strategy.l3sp.alpha=1"], ["strategy.l3sp", "l2sp"]),
        (["resume=auto", "name=null"], ["resume=auto", "name=<name>"]),
        (["model.weights=gone.pth"], ["model.weights=gone.pth"]),
        (["dataset.path=gone"], ["dataset.path=gone"]),
        (["image_size=4"], ["image_size=4"]),
    ],
)
def test_wrong_words(command: Command, words: list[str], told: list[str]) -> None:
    ended = command(*SHORT, *words)
    assert ended.code == 2, ended.out + ended.err
    assert all(word in ended.err for word in told), ended.err
    assert not Path("outputs").exists()


def test_weights_that_are_not_there_are_found_before_anything_is_written(command: Command) -> None:
    ended = command(*SHORT, "model.weights=outside.safetensors", "compare.rows=[lora]")
    assert ended.code == 2
    Path("outside.safetensors").write_bytes(b"no tensors")
    folder = [word for word in SHORT if not word.startswith("dataset")]
    Path("photos/a").mkdir(parents=True)
    Path("photos/b").mkdir()
    for name in ("a/1.png", "a/2.png", "a/3.png", "b/1.png", "b/2.png", "b/3.png"):
        (Path("photos") / name).write_bytes(b"no picture")
    ended = command(*folder, "dataset=folder", "dataset.path=photos", "compare.rows=[lora]")
    assert ended.code == 2, ended.out
    assert "photos" in ended.err
    assert not Path("outputs").exists()


def test_recipes_keep_their_method_and_take_the_rest_from_the_command() -> None:
    words = ["model.weights=IMAGENET1K_V1", "optimizer.lr=0.5", "trainer.epochs=3", "strategy.unfreeze=1"]
    words = [*words, "strategy.batch_norm=frozen", "dataset.shots=7"]
    found = recipes(*words, rows=("scratch", "last_stage", "lora", "small_data_l2sp", "probe"))
    made = {name: parse({**recipe.values, "mode": "train"}) for name, recipe in found.items()}
    assert {one.trainer.epochs for one in made.values()} == {3}
    assert {one.dataset.shots for one in made.values()} == {7}
    assert {one.optimizer.lr for one in made.values()} == {0.5}
    assert {name: one.model.weights for name, one in made.items() if name != "lora"}["scratch"] == "none"
    assert made["lora"].model.weights == "IMAGENET1K_V1"
    assert (made["last_stage"].strategy.unfreeze, made["lora"].strategy.unfreeze) == (2, 1)  # type: ignore[union-attr]
    assert made["lora"].strategy.batch_norm == "frozen"  # type: ignore[union-attr]
    assert {name: recipe.unread for name, recipe in found.items()} == {
        "scratch": (),
        "last_stage": ("strategy.unfreeze=1",),
        "lora": (),
        "small_data_l2sp": ("strategy.batch_norm=frozen",),
        "probe": ("strategy.unfreeze=1", "strategy.batch_norm=frozen"),
    }


def test_test_scores_choose_nothing() -> None:
    rows = [row("low", val=0.6, test=0.99), row("high", val=0.9, test=0.1), row("middle", val=0.7, test=0.5)]
    ordered, recommended = by_validation(rows, "accuracy", 2)
    assert [one.row for one in ordered] == ["high", "middle", "low"]
    assert recommended is not None and recommended.name == "high"
    without = [replace(one, test=None) for one in rows]
    assert by_validation(without, "accuracy", 2)[1] == recommended


def test_a_row_that_lacks_a_seed_is_not_recommended() -> None:
    rows = [replace(row("high", val=0.9, test=0.9), completed=1, failed=1), row("low", val=0.6, test=0.6)]
    ordered, recommended = by_validation(rows, "accuracy", 2)
    assert [one.row for one in ordered] == ["low", "high"]
    assert recommended is not None and recommended.name == "low"


def test_rows_train_as_long_as_each_other_but_for_heads_on_stored_features() -> None:
    made = {name: recipe.values for name, recipe in recipes(rows=("scratch", "lp_ft", "probe")).items()}
    assert made["scratch"]["trainer"] == made["lp_ft"]["trainer"]
    assert made["probe"]["trainer"]["batch_size"] > made["lp_ft"]["trainer"]["batch_size"]


def test_each_planned_run_is_an_ordinary_one(command: Command) -> None:
    e = replace(experiment(*TINY), compare=replace(experiment(*TINY).compare, rows=("lora",), seeds=2))
    planned = compare._planned(e, [*recipes(*TINY, rows=("lora",)).values()], FOLDER)
    assert [one.directory for one in planned] == ["lora-seed0", "lora-seed1"]
    assert command(*SHORT, "compare.rows=[lora]", "compare.seeds=1").code == 0
    ended = command("--config-path", str(FOLDER / "lora-seed0"), "name=again")
    assert ended.code == 0, ended.err
    same = (FOLDER / "lora-seed0" / "model.safetensors").read_bytes()
    assert Path("outputs/runs/again/model.safetensors").read_bytes() == same
