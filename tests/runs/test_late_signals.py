"""A signal that comes when a training has looked for the last time ends what was to follow it."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import TINY, Ended, summary
from tests.runs.distill.taught import CONVNEXT, TAUGHT
from transfer_cli.runs import train

Command = Callable[..., Ended]
SHORT = [*TINY, "trainer.epochs=1", "tune=off", "name=a"]
FOLLOWED = [
    (["-m", *SHORT, "seed=0,1,2"], "outputs/sweeps/a/*"),
    (
        ["-m", *SHORT, "hydra/sweeper=search", "sweep.trials=3", "optimizer.lr=interval(1e-4,1e-3)"],
        "outputs/sweeps/a/*",
    ),
    (["mode=compare", *SHORT, "compare.rows=[full,scratch]", "compare.seeds=1"], "outputs/compare/a/*"),
    ([*TAUGHT, *SHORT, *CONVNEXT, "strategy.teacher.finetune=true", "strategy.teacher.epochs=1"], "outputs/runs/*"),
]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 75), (signal.SIGINT, 130)])
@pytest.mark.parametrize(("words", "runs"), FOLLOWED, ids=["sweep", "search", "compare", "distill"])
def test_nothing_new_begins_and_the_same_command_goes_on(
    command: Command, monkeypatch: pytest.MonkeyPatch, words: list[str], runs: str, number: int, code: int
) -> None:
    report = train.leave_report

    def signalled(*given: Any) -> None:
        monkeypatch.setattr(train, "leave_report", report)
        os.kill(os.getpid(), number)
        report(*given)

    monkeypatch.setattr(train, "leave_report", signalled)
    ended = command(*words)
    assert ended.code == code, ended.err
    assert "stopped: " in ended.err and re.search(r"go(es)? on|resume=auto", ended.err)
    done = [summary(path.parent)["status"] for path in Path().glob(f"{runs}/summary.json")]
    assert done == ["completed"]
    ended = command(*words, "resume=auto")
    assert ended.code == 0, ended.err
    assert len([*Path().glob(f"{runs}/summary.json")]) > 1
