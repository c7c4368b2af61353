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
from transfer_cli.engine.stop import Stop
from transfer_cli.records.terminal import Reporter
from transfer_cli.runs.choices import search
from transfer_cli.runs.choices.search import Candidate

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
    assert "search    2 candidates, 1.5 times the training of one" in ended.out
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

    def chosen(doubted_by: int | None) -> Experiment:
        prepare = cast("search.Prepare", None)
        rungs, reporter = search.PLANS["quick"], Reporter(quiet=True)
        return search.search(tries, rungs, prepare, tmp_path, reporter, Stop(), doubted_by=doubted_by).experiment

    assert chosen(100) is tries[wins].experiment
    assert chosen(None) is tries[int(other > 0.6)].experiment


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


@pytest.mark.parametrize("looks", [3, 14])
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
