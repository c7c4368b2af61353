"""A recipe of the user's own without its first line: never ignored, whatever it holds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import TINY, Ended

Command = Callable[..., Ended]


def recipe(text: str) -> list[str]:
    file = Path("mine/experiment/flowers.yaml")
    file.parent.mkdir(parents=True)
    file.write_text(text)
    return ["--config-dir=mine", "experiment=flowers", "name=run"]


@pytest.mark.parametrize(
    "text",
    [
        "optimizer:\n  lr: 0.5\n",
        "# Ours\nno_such_key: 3\n",
        "seed: 3\n# @package _global_\n",
        "# Ours\n# @package _global_\nseed: 3\n",
        "defaults:\n  - override /model: resnet18\nseed: 3\n",
    ],
    ids=["known key", "unknown key", "too late", "below a comment", "overrides"],
)
def test_without_its_first_line_it_is_refused(command: Command, text: str) -> None:
    ended = command(*TINY, *recipe(text))
    assert ended.code == 2
    assert "mine/experiment/flowers.yaml, line 1: a recipe starts with the line `# @package _global_`" in ended.err
    assert not Path("outputs").exists()


@pytest.mark.parametrize("text", ["\n#@package  _global_\n# Ours\nseed: 3\n", ""], ids=["with it", "empty"])
def test_with_it_or_with_nothing_to_lose_it_is_read(command: Command, text: str) -> None:
    ended = command(*TINY, *recipe(text), "--cfg", "job")
    assert ended.code == 0, ended.err
    assert ("seed: 3" in ended.out) == bool(text)


def test_keys_below_experiment_on_the_command_line_are_refused(command: Command) -> None:
    ended = command(*TINY, "+experiment.seed=3")
    assert ended.code == 2
    assert ended.err == "error: experiment=seed: expected the name of a recipe.\n"


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16"])
def test_one_that_is_no_utf8_is_named(command: Command, encoding: str) -> None:
    words = recipe("")
    Path("mine/experiment/flowers.yaml").write_bytes("# @package _global_\n# größe\nseed: 3\n".encode(encoding))
    ended = command(*TINY, *words)
    assert ended.code == 2
    assert f"mine/experiment/flowers.yaml, line {1 if encoding == 'utf-16' else 2}: not UTF-8 text" in ended.err
    assert not Path("outputs").exists()
