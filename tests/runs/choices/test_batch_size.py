"""trainer.batch_size=auto, as a user says it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tests.conftest import TINY, Ended

Command = Callable[..., Ended]
AUTO = [word for word in TINY if "batch_size" not in word] + ["trainer.batch_size=auto", "trainer.epochs=1"]


@pytest.mark.parametrize(("words", "size"), [([], 32), (["strategy=extract"], 256)], ids=["finetune", "extract"])
def test_a_cpu_takes_the_usual_number_and_the_run_keeps_it(command: Command, words: list[str], size: int) -> None:
    ended = command(*AUTO, *words, "name=one")
    assert ended.code == 0, ended.err
    said = "auto      trainer.batch_size=32: more would not make a cpu faster"
    assert (said in ended.out) == (size == 32)
    run = Path("outputs/runs/one")
    assert yaml.safe_load((run / "config.yaml").read_text())["trainer"]["batch_size"] == size
    ended = command(*AUTO, *words, "name=one", "resume=auto")
    assert ended.code == 0 and "complete" in ended.out


def test_neither_a_word_nor_nothing_is_a_number(command: Command) -> None:
    for value in ("many", "0"):
        ended = command(*TINY, f"trainer.batch_size={value}")
        assert ended.code == 2 and f"trainer.batch_size={value}" in ended.err and "auto" in ended.err
