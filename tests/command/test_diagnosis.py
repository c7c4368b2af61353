"""Messages about overrides: the one that is wrong is named, and no other."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Ended


def test_an_option_whose_file_is_wrong_is_not_blamed_on_the_keys(command: Callable[..., Ended]) -> None:
    Path("mine/experiment").mkdir(parents=True)
    Path("mine/experiment/x.yaml").write_text("# @package _global_\ndefaults:\n  - override /optimzer: sgd\n")
    ended = command("--config-dir", "mine", "experiment=x", "seed=1", "trainer.epochs=2")
    assert ended.code == 2
    assert "optimzer" in ended.err
    assert "seed" not in ended.err
    assert "trainer" not in ended.err


def test_a_launcher_that_is_not_installed_is_told_apart_from_an_unknown_one(command: Callable[..., Ended]) -> None:
    assert "pip install hydra-rq-launcher" in command("-m", "hydra/launcher=rq", "seed=0,1").err
    assert "no such launcher. Did you mean joblib?" in command("-m", "hydra/launcher=jobli", "seed=0,1").err


def test_keys_of_hydra_are_no_suggestions(command: Callable[..., Ended]) -> None:
    assert "hydra" not in command("verbos=1").err


@pytest.mark.parametrize(
    "text", ["hydra: null", "hydra: [1]", "defaults: null", "defaults: [3]", "3", "[1, 2]", "hydra: {run: null}"]
)
def test_a_file_of_another_shape_is_refused_in_a_sentence(command: Callable[..., Ended], text: str) -> None:
    file = Path("mine/experiment/odd.yaml")
    file.parent.mkdir(parents=True)
    file.write_text(f"# @package _global_\n{text}\n")
    ended = command("--config-dir", "mine", "experiment=odd", "--cfg", "job")
    assert ended.code == 2
    assert ended.err.startswith("error: ")
    assert len(ended.err) > len("error: \n")
    assert "Traceback" not in ended.err
