"""What a training says of itself before its first step."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import experiment
from transfer_cli.engine.measured.speed import SpeedMemory
from transfer_cli.records.events import RunEnd, RunStart
from transfer_cli.records.show import TerminalRecorder, plan_of
from transfer_cli.records.terminal import Reporter

PLAIN = ("trainer.batch_size=8", "trainer.accumulate=2", "trainer.epochs=10", "trainer.patience=null")


def plan(*words: str, **more: float | bool) -> dict[str, str]:
    start = RunStart(experiment(*PLAIN, *words), Path("outputs/runs/x"), epochs=10, steps_per_epoch=5)
    return dict(plan_of(RunStart(**{**vars(start), **more}), start.directory))  # type: ignore[arg-type]


def test_the_plan_says_what_how_long_and_where() -> None:
    said = plan(images_per_second=4.0)
    assert said["plan"] == "10 epochs of 5 steps of 16 images"
    assert said["time"] == "about 3:20, as fast as the last such training"  # 10 x 5 x 16 / 4
    assert said["results"].startswith("outputs/runs/x; ")


def test_a_run_that_goes_on_has_less_left() -> None:
    said = plan(images_per_second=4.0, epoch=9, step_in_epoch=3)
    assert said["plan"].endswith(", from epoch 9 on")
    assert said["time"].startswith("about 28 s, ")  # (2 x 5 - 3) x 16 / 4


def test_one_that_may_end_early_takes_at_most_so_long() -> None:
    said = plan("trainer.patience=3", images_per_second=16.0)
    assert said["plan"].endswith("it ends where validation accuracy has not improved for 3 epochs")
    assert said["time"].startswith("at most 50 s, ")


def test_nobody_knows_how_long_the_first_takes() -> None:
    assert plan()["time"] == "the first such training here: what is left shows once it trains"


def test_what_is_fitted_in_one_go_promises_nothing() -> None:
    said = plan(saves_states=False)
    assert said == {"plan": "10 epochs of 5 steps of 16 images", "results": "outputs/runs/x"}


def test_where_no_step_is_left_nothing_is_planned(capsys: pytest.CaptureFixture[str]) -> None:
    for epoch, lines in ((10, 3), (11, 0)):
        recorder = TerminalRecorder(Reporter(quiet=False))
        recorder.run_starts(RunStart(experiment(*PLAIN), Path("x"), epochs=10, steps_per_epoch=5, epoch=epoch))
        recorder.run_ends(RunEnd(Path("x"), {"status": "failed"}))
        assert len(capsys.readouterr().out.splitlines()) == lines


def test_speeds_are_remembered_by_their_work(tmp_path: Path) -> None:
    memory, work = SpeedMemory(tmp_path / "speed"), {"model": "a", "threads": 2}
    assert memory.recall(work) is None
    memory.remember(work, 12.5)
    assert memory.recall(work) == 12.5 and memory.recall({**work, "threads": 4}) is None


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"images_per_second": 3}', '{"images_per_second": "fast"}'])
def test_a_memory_that_someone_has_changed_is_none(tmp_path: Path, text: str) -> None:
    memory = SpeedMemory(tmp_path)
    memory.remember({"model": "a"}, 12.5)
    (file,) = tmp_path.iterdir()
    file.write_text(text)
    assert memory.recall({"model": "a"}) is None


def test_a_folder_that_cannot_be_written_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "speed").write_text("a file")
    SpeedMemory(tmp_path / "speed").remember({"model": "a"}, 12.5)
