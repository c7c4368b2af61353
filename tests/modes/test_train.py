"""resume=<run directory>: that run's own settings; what the command says beside it must agree with them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import TINY, Ended

Command = Callable[..., Ended]
RUN = "outputs/runs/one"


@pytest.fixture
def unfinished(command: Command, stop_at: Callable[[int | None], None]) -> None:
    """A run that was stopped in its second epoch."""
    stop_at(6)
    assert command(*TINY, "name=one").code == 75
    stop_at(None)


@pytest.mark.parametrize(
    "word",
    [
        "optimizer.lr=1",
        "++optimizer.lr=1",
        "optimizer={lr: 1}",
        "++seed=1",
        "model=resnet18",
        "optimizer=sgd",
        "experiment=lora",
        "strategy=extract",
    ],
)
def test_other_settings_are_refused_in_every_notation(command: Command, unfinished: None, word: str) -> None:
    before = sorted(Path(RUN).rglob("*"))
    ended = command(f"resume={RUN}", word)
    assert ended.code == 2
    assert f"resume={RUN}: that run was made with other settings: " in ended.err
    assert sorted(Path(RUN).rglob("*")) == before


def test_the_same_settings_are_taken(command: Command, unfinished: None) -> None:
    """`mode` is no part of `model`, whose default the run did not use."""
    ended = command("mode=train", f"resume={RUN}", "++model.name=test_resnet", "trainer.epochs=2")
    assert ended.code == 0, ended.err
