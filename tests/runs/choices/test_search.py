"""tune: candidates are compared on validation, the best goes on, and nothing of it changes what a run computes."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import cast

import pytest
import yaml

from tests.conftest import TINY, Ended, experiment, summary, trained_on_others
from transfer_cli.config.schema import Experiment
from transfer_cli.engine.ranks.world import World
from transfer_cli.engine.stop import Stop
from transfer_cli.records.terminal import Reporter
from transfer_cli.runs import train as train_module
from transfer_cli.runs.choices import search
from transfer_cli.runs.choices.candidates import PLANS, Candidate, Comparison, Doubt, Rung
from transfer_cli.runs.train import train

Command = Callable[..., Ended]
RUNS = Path("outputs/runs")


@pytest.fixture
def few(command: Command) -> list[str]:
    """Words that start from a network with BatchNorm that was trained on other classes."""
    return [*TINY, *trained_on_others(command), "dataset.samples=80", "trainer.epochs=4"]


def settings(run: Path) -> dict[str, object]:
    """What was open, as the run has it."""
    values = yaml.safe_load((run / "config.yaml").read_text())
    keys = ("batch_norm", "head_init", "keep_probe", "layer_decay")
    return {**{key: values["strategy"][key] for key in keys}, "lr": values["optimizer"]["lr"]}


def test_the_winner_goes_on_as_a_run_with_its_settings(command: Command, few: list[str]) -> None:
    ended = command(*few, "tune=quick", "name=tuned")
    assert ended.code == 0, ended.err
    said = ended.out
    assert "search    2 candidates, 1.5 times the training of one" in said
    # All that takes long is seen, and what it is part of.
    first, second = (said.index(f"search    candidate {number} of 2: model.name=") for number in (1, 2))
    assert first < said.index("\nplan ") < said.index("\nresults ") < said.index("\nepoch 1/4") < second
    assert second < said.rindex("\nepoch 1/4") < said.index("search    the winner goes on at epoch 3, step")
    assert "resuming" not in said
    found = json.loads((RUNS / "tuned" / "search.json").read_text())
    assert [row["epochs"] for row in found["tried"]] == [2, 2]
    won = found["tried"][found["chosen"]]
    chosen = settings(RUNS / "tuned")
    assert f"strategy.batch_norm={chosen['batch_norm']}" in won["settings"]
    assert "auto" not in chosen.values()
    assert not (RUNS / "tuned" / "search").exists()
    again = command(f"--config-path={RUNS / 'tuned'}", "name=again")
    assert again.code == 0, again.err
    for file in ("model.safetensors", "metrics.jsonl"):
        assert (RUNS / "tuned" / file).read_bytes() == (RUNS / "again" / file).read_bytes()


@pytest.mark.parametrize(("other", "wins"), [(0.62, 0), (0.66, 1), (-math.inf, 0)])
def test_a_rule_gives_way_to_what_is_better_by_a_standard_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, other: float, wins: int
) -> None:
    """Of 100 images at 0.6: 0.049."""
    tries = [
        Candidate(
            experiment(
                f"strategy.batch_norm={mode}", "trainer.epochs=4", "trainer.evaluate_every=1", "optimizer.lr=1e-3"
            )
        )
        for mode in ("frozen", "train")
    ]
    scores = {"0": 0.6, "1": other}
    monkeypatch.setattr(search, "_score", lambda one, prepare, folder, *more: scores[folder.name])
    monkeypatch.setattr(search, "_moved", lambda *_: None)

    def chosen(doubt: Doubt | None) -> Experiment:
        prepare = cast("search.Prepare", None)
        reporter = Reporter(quiet=True)
        return search.search(Comparison(tries, PLANS["quick"], doubt), prepare, tmp_path, reporter, Stop()).experiment

    assert chosen(Doubt(100, few=True)) is tries[wins].experiment
    assert chosen(None) is tries[int(other > 0.6)].experiment


@pytest.mark.parametrize(
    ("metric", "frozen", "first", "asked"),
    [
        ("accuracy", 0.60, 0.66, ["0"]),
        # 0.046 is a standard error of 100 images at 0.7.
        ("accuracy", 0.70, 0.74, ["0", "1"]),
        ("loss", 0.9, -0.8, ["0"]),
        ("loss", 0.9, -0.95, ["0", "1"]),
        # As the log has it, where all images to validate on are of one class.
        ("auroc", None, math.nan, ["0"]),
    ],
)
def test_of_many_images_others_are_tried_where_the_first_is_not_ahead_of_its_fitted_head(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, metric: str, frozen: float | None, first: float, asked: list[str]
) -> None:
    words = ["trainer.epochs=4", "trainer.evaluate_every=1", "optimizer.lr=1e-3", f"trainer.metric={metric}"]
    tries = [Candidate(experiment(f"strategy.batch_norm={mode}", *words)) for mode in ("train", "frozen")]
    scores, seen = {"0": first, "1": first + 0.001}, []

    def score(one: Candidate, prepare: search.Prepare, folder: Path, *more: object) -> float:
        seen.append(folder.name)
        folder.mkdir(parents=True)
        event = {"step": 0, "epoch": 0, "split": "val", "loss": 0.5, metric: frozen}
        (folder / "metrics.jsonl").write_text(json.dumps(event) + "\n")
        return scores[folder.name]

    monkeypatch.setattr(search, "_score", score)
    monkeypatch.setattr(search, "_moved", lambda *_: None)
    prepare, reporter = cast("search.Prepare", None), Reporter(quiet=True)
    doubt = Doubt(100, few=False)
    found = search.search(Comparison(tries, PLANS["quick"], doubt), prepare, tmp_path, reporter, Stop()).experiment
    assert seen == asked
    assert found is tries[len(asked) - 1].experiment, "where both are tried the better goes on"


def test_with_many_images_what_suits_few_is_a_candidate(
    command: Command, few: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("transfer_cli.strategies.rules.FEW_IMAGES", 10)
    monkeypatch.setattr(search, "_leads", lambda *_: False)
    ended = command(*few, "name=doubted")
    assert ended.code == 0, ended.err
    assert "1.5 times the training of one, unless the first is ahead of its fitted head" in ended.out
    first, other = json.loads((RUNS / "doubted" / "search.json").read_text())["tried"]
    assert "batch_norm=train" in first["settings"] and "wise_ft" not in first["settings"]
    assert "batch_norm=frozen" in other["settings"] and "wise_ft=true" in other["settings"]
    monkeypatch.setattr(search, "_leads", lambda *_: True)
    ended = command(*few, "name=sure")
    assert ended.code == 0, ended.err
    assert "goes on, ahead of its fitted head by more than chance" in ended.out
    assert len(json.loads((RUNS / "sure" / "search.json").read_text())["tried"]) == 1
    alone = command(*few, "tune=off", "name=alone")
    assert alone.code == 0, alone.err
    models = [(RUNS / name / "model.safetensors").read_bytes() for name in ("sure", "alone")]
    assert models[0] == models[1], "a search that tries nothing else changes nothing"


def test_where_time_is_short_the_last_are_left_out(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["trainer.epochs=8", "trainer.evaluate_every=1"]
    tries = [Candidate(experiment(*words, f"optimizer.lr={rate}")) for rate in ("1e-3", "2e-3", "3e-3", "4e-3")]
    seen, asked = [], []

    def score(one: Candidate, prepare: search.Prepare, folder: Path, until: int, *more: object) -> float:
        seen.append((folder.name, until))
        return 0.1 * int(folder.name)

    def hurry(trained: int, coming: int, needed: int) -> bool:
        asked.append((trained, coming, needed))
        return trained >= 6

    monkeypatch.setattr(search, "_score", score)
    monkeypatch.setattr(search, "_moved", lambda *_: None)
    comparison = Comparison(tries, (Rung(0.25, 2), Rung(0.5, 1)), hurry=hurry)
    found = search.search(comparison, cast("search.Prepare", None), tmp_path, Reporter(quiet=False), Stop())
    # Two epochs of each of three candidates, then two more of the better two, of which one is left out again.
    assert seen == [("0", 2), ("1", 2), ("2", 2), ("2", 4)]
    assert asked == [(2, 2, 6), (4, 2, 6), (6, 2, 6), (8, 2, 4)]
    assert found.experiment is tries[2].experiment
    assert capsys.readouterr().out.count("1 candidate left out: time is short") == 2


def test_full_tries_rates_as_well(command: Command, few: list[str]) -> None:
    ended = command(*few, "tune=full", "name=tuned")
    assert ended.code == 0, ended.err
    assert "search    6 candidates, 2.5 times the training of one" in ended.out
    tried = json.loads((RUNS / "tuned" / "search.json").read_text())["tried"]
    assert [row["epochs"] for row in tried] == [1] * 6 + [2] * 2


def test_a_loss_is_told_as_it_is_and_the_lowest_wins(command: Command, few: list[str]) -> None:
    ended = command(*few, "trainer.metric=loss", "name=tuned")
    assert ended.code == 0, ended.err
    found = json.loads((RUNS / "tuned" / "search.json").read_text())
    losses = [row["score"] for row in found["tried"]]
    assert min(losses) > 0
    assert found["chosen"] == losses.index(min(losses))


@pytest.mark.parametrize("words", [["tune=off"], ["strategy.batch_norm=train"]])
def test_nothing_open_is_searched_for(command: Command, few: list[str], words: list[str]) -> None:
    ended = command(*few, *words, "name=plain")
    assert ended.code == 0, ended.err
    assert "candidates" not in ended.out
    assert not (RUNS / "plain" / "search.json").exists()


@pytest.mark.parametrize("looks", [pytest.param(3, marks=pytest.mark.slow), 14])
def test_stopped_anywhere_it_ends_as_if_it_had_not_been(
    command: Command, few: list[str], stop_at: Callable[[int | None], None], looks: int
) -> None:
    assert command(*few, "name=whole").code == 0
    stop_at(looks)
    assert command(*few, "name=parts", "resume=auto").code == 75
    assert summary(RUNS / "parts")["status"] == "preempted"
    stop_at(None)
    assert command(*few, "name=parts", "resume=auto").code == 0
    assert settings(RUNS / "whole") == settings(RUNS / "parts")
    for file in ("model.safetensors", "metrics.jsonl", "search.json"):
        assert (RUNS / "whole" / file).read_bytes() == (RUNS / "parts" / file).read_bytes()


@pytest.mark.parametrize("begun", [True, False])
def test_several_ranks_go_on_with_a_search_that_one_device_has_begun(
    command: Command,
    few: list[str],
    stop_at: Callable[[int | None], None],
    monkeypatch: pytest.MonkeyPatch,
    begun: bool,
) -> None:
    monkeypatch.setattr("transfer_cli.strategies.rules.FEW_IMAGES", 10)
    if begun:
        stop_at(10)
        assert command(*few, "name=parts").code == 75
        assert (RUNS / "parts" / "search" / "0" / "checkpoints").is_dir()

    def ends(*_: object) -> None:
        raise LookupError("here")

    # What comes next, with a search or without.
    went_on = "_best_of" if begun else "_train_in"
    monkeypatch.setattr(train_module, went_on, ends)
    two = World(size=2)
    with pytest.raises(LookupError, match="here"):
        train(experiment(*few, "name=parts", "resume=auto"), RUNS / "parts", Reporter(True), world=two, stop=Stop())


def test_a_run_of_a_version_that_chose_otherwise_is_refused(command: Command) -> None:
    assert command(*TINY, "name=old").code == 0
    file = RUNS / "old" / "config.yaml"
    values = yaml.safe_load(file.read_text())
    file.write_text(yaml.safe_dump({**values, "image_size": "auto"}))
    (RUNS / "old" / "summary.json").unlink()
    ended = command(*[word for word in TINY if not word.startswith("image_size")], "name=old", "resume=auto")
    assert ended.code == 2
    assert "was begun by a version of transfer-run that chose its settings otherwise" in ended.err


def test_explicit_values_are_taken_as_they_are(command: Command, few: list[str]) -> None:
    words = ["strategy.batch_norm=train", "strategy.head_init=model", "strategy.layer_decay=0.9", "strategy.ema=0"]
    words += ["strategy.keep_probe=false", "optimizer.lr=0.003"]
    ended = command(*few, "tune=off", *words, "name=own")
    assert ended.code == 0, ended.err
    assert "auto      " not in ended.out.replace("auto      image", "")
    assert settings(RUNS / "own") == {
        "batch_norm": "train",
        "head_init": "model",
        "keep_probe": False,
        "layer_decay": 0.9,
        "lr": 0.003,
    }
