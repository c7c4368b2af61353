"""Objectives of a sweep: which way each goes, and what is said of those that make no front."""

from __future__ import annotations

import pytest

from tests.conftest import experiment
from transfer_cli.config.objectives import OBJECTIVES, direction
from transfer_cli.config.parse import config_hash
from transfer_cli.errors import UserError


def test_directions_follow_from_the_names() -> None:
    high = {"accuracy", "macro_f1", "balanced_accuracy", "auroc", "top5_accuracy"}
    assert {name for name in OBJECTIVES if direction(name) == "maximize"} == high


def test_objectives_are_no_setting_of_the_result() -> None:
    several = experiment("sweep.objectives=[accuracy,parameters]")
    assert several.sweep.objectives == ("accuracy", "parameters")
    assert config_hash(several) == config_hash(experiment())


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("[acuracy,parameters]", r"\[acuracy,parameters\]: no such objective as acuracy. Did you mean accuracy"),
        ("[accuracy,parameters,accuracy]", "each objective once"),
        ("[accuracy]", r"leave it out and say trainer\.metric=accuracy"),
        ("[parameters,train_seconds]", "name a score on validation too"),
        ("[auroc,parameters]", r"auroc is only computed with trainer\.metric=auroc"),
        ("accuracy", "expected a list"),
    ],
)
def test_what_makes_no_front_is_told(value: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        experiment(f"sweep.objectives={value}")


def test_auroc_is_weighed_where_it_is_computed() -> None:
    assert experiment("sweep.objectives=[auroc,parameters]", "trainer.metric=auroc").sweep.objectives


@pytest.mark.parametrize("where", [[], ["run=x"]])
def test_a_report_weighs_a_sweep_alone(where: list[str]) -> None:
    with pytest.raises(UserError, match=r"mode=report draws the front of a sweep; name its folder"):
        experiment("mode=report", "sweep.objectives=[accuracy,parameters]", *where)
