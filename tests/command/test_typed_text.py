"""Names and paths that read like numbers stay as they were typed, on the command line and in YAML."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import TINY, Ended, experiment
from transfer_cli.command.overrides import parse_overrides
from transfer_cli.config.text_keys import is_text

Command = Callable[..., Ended]
LIKE_NUMBERS = ["1_10", "2024_01_15", "3.10", "1e3", "007", "nan", "-inf", "true", "+5", "2024-01-15", "12:30"]


@pytest.mark.parametrize("text", LIKE_NUMBERS)
@pytest.mark.parametrize("key", ["name", "dataset.path", "model.weights", "strategy.teacher.weights"])
def test_text_stays_as_typed(key: str, text: str) -> None:
    (override,) = parse_overrides([f"{key}={text}"]).parsed
    assert override.value() == text


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("compare.rows=[1_0,lora,3.10]", ["1_0", "lora", "3.10"]),
        ("model={name: 3.10, weights: 1_0}", {"name": "3.10", "weights": "1_0"}),
        ("strategy={teacher: {weights: 1_10, lr: 1_0.5}}", {"teacher": {"weights": "1_10", "lr": 10.5}}),
        ("experiment=1_10", "1_10"),
        ("model=3.10", "3.10"),
        ("dataset=true", "true"),
        ("model=null", None),
        ("trainer.epochs=1_0", 10),
        ("seed=1_0", 10),
        ("optimizer.lr=1e-3", 0.001),
        ("strategy.unfreeze=2", 2),
        ("name=null", None),
        ("name='3.10'", "3.10"),
        ("name=3.10 b", "3.10 b"),
    ],
)
def test_only_text_is_text(argument: str, value: Any) -> None:
    (override,) = parse_overrides([argument]).parsed
    assert override.value() == value


@pytest.mark.parametrize("argument", ["name=1_0,3.10", "name=choice(1_0,3.10)"])
def test_every_job_of_a_sweep_gets_it_as_typed(argument: str) -> None:
    jobs = parse_overrides([argument]).combinations()
    values = [parse_overrides(job).parsed[0].value() for job in jobs]
    assert values == ["1_0", "3.10"]


def test_it_reaches_the_experiment() -> None:
    e = experiment("name=2024_01_15", "dataset.path=3.10", "resume=1_0")
    assert (e.name, e.dataset.path, e.resume) == ("2024_01_15", "3.10", "1_0")


def test_keys_of_text_are_known_from_their_types() -> None:
    assert all(map(is_text, ["name", "trainer.device", "strategy.teacher.run", "rank.models"]))
    assert not any(map(is_text, ["seed", "image_size", "strategy.unfreeze", "model", "no.such", "strategy.loss.ce"]))


def test_yaml_that_would_change_it_is_refused_with_its_line(command: Command) -> None:
    file = Path("mine/experiment/ours.yaml")
    file.parent.mkdir(parents=True)
    file.write_text("# @package _global_\nseed: 1_0\nname: 2024_01_15\nmodel:\n  weights: 3.10\n")
    ended = command(*TINY, "--config-dir=mine", "experiment=ours")
    assert ended.code == 2
    assert f"{file.resolve()}, line 3: name: YAML takes 2024_01_15 for the number 20240115; write" in ended.err
    assert f"{file.resolve()}, line 5: model.weights: YAML takes 3.10 for the number 3.1; write" in ended.err
    assert not Path("outputs").exists()
    file.write_text('# @package _global_\nseed: 1_0\nname: "2024_01_15"\ncompare:\n  rows: [7]\n')
    ended = command(*TINY, "--config-dir=mine", "experiment=ours", "--cfg", "job")
    assert ended.code == 0, ended.err
    assert "name: '2024_01_15'" in ended.out


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("report.where=test.accuracy>0.9,strategy=finetune", "test.accuracy>0.9,strategy=finetune"),
        ("report.where=model~o'brien", "model~o'brien"),
        ("report.where='a=1'", "a=1"),
        ("report.where=null", None),
        ("report.where=a\\b=1", "a\\b=1"),
    ],
)
def test_conditions_need_no_quotes(argument: str, value: str | None) -> None:
    (override,) = parse_overrides([argument]).parsed
    assert override.value() == value
