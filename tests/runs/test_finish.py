"""The end of a training: its model is written while its pictures are drawn, and the summary only after both."""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import TINY, Ended, summary
from transfer_cli.records import plots
from transfer_cli.runs import loop_job

RUN = Path("outputs/runs/run")
_SECONDS = 60


def test_the_summary_waits_for_a_model_that_takes_longer_than_the_pictures(
    command: Callable[..., Ended], monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn, seen = threading.Event(), []
    save, draw = loop_job.save_trained, plots.curves

    def slow_save(directory: Path, *more: Any) -> None:
        assert drawn.wait(_SECONDS), "pictures wait for the model"
        seen.extend(file.name for file in directory.iterdir())
        save(directory, *more)

    def noted_draw(*more: Any) -> None:
        draw(*more)
        drawn.set()

    monkeypatch.setattr(loop_job, "save_trained", slow_save)
    monkeypatch.setattr(plots, "curves", noted_draw)
    ended = command(*TINY, "name=run", "trainer.epochs=1")
    assert ended.code == 0, ended.err
    assert "plots" in seen and "summary.json" not in seen
    assert summary(RUN)["status"] == "completed"
    assert (RUN / "model.safetensors").is_file()


def test_a_model_that_cannot_be_written_is_no_complete_run(
    command: Callable[..., Ended], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(loop_job, "save_trained", refused)
    ended = command(*TINY, "name=run", "trainer.epochs=1")
    assert ended.code == 3 and "No space left on device" in ended.err, ended.err
    assert summary(RUN)["status"] == "failed"
    monkeypatch.undo()
    assert command(*TINY, "name=run", "trainer.epochs=1", "resume=auto").code == 0
    assert summary(RUN)["status"] == "completed"
