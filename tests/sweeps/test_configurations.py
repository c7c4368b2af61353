"""Seeds of one configuration: their number, mean and deviation are numpy's, and a failed one counts as missing."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.conftest import TINY, Ended
from transfer_cli.sweeps import leaderboard
from transfer_cli.sweeps.configurations import configurations

Command = Callable[..., Ended]


def job(folder: Path, number: int, overrides: list[str], val: float | None, **more: Any) -> None:
    path = folder / str(number)
    path.mkdir()
    code = 0 if val is not None else 3
    ended = {"overrides": overrides, "exit_code": code, "seconds": 2.0 + number}
    (path / "job.json").write_text(json.dumps(ended))
    scores = None if val is None else {"accuracy": val, "loss": 1 - val}
    test = None if val is None else {"accuracy": val - 0.1, "loss": 1.0}
    status = "completed" if val is not None else "failed"
    (path / "summary.json").write_text(json.dumps({"status": status, "val": scores, "test": test, **more}))


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    """Two rates, three seeds each; one seed of the second failed."""
    for number, val in enumerate((0.5, 0.7, 0.6)):
        job(tmp_path, number, ["optimizer.lr=0.1", f"seed={number}"], val)
    for number, seed, val in ((3, 0, 0.9), (4, 1, 0.8), (5, 2, None)):
        job(tmp_path, number, ["optimizer.lr=0.01", f"++seed={seed}"], val)
    return tmp_path


def test_mean_and_deviation_are_numpys_and_a_failed_seed_is_missing(sweep: Path) -> None:
    best, other = configurations(leaderboard.write(sweep))
    assert (best.overrides, best.n, best.best) == ("optimizer.lr=0.01", "2 of 3", "3")
    assert (other.overrides, other.n, other.best) == ("optimizer.lr=0.1", "3", "1")
    for found, values in ((best, [0.9, 0.8]), (other, [0.5, 0.7, 0.6])):
        assert found.val is not None and found.test is not None
        assert found.val.mean == pytest.approx(np.mean(values))
        assert found.val.deviation == pytest.approx(np.std(values, ddof=1))
        assert found.test.mean == pytest.approx(np.mean(values) - 0.1)


def test_the_table_that_is_written(sweep: Path) -> None:
    leaderboard.write(sweep)
    lines = (sweep / "leaderboard.md").read_text().splitlines()
    assert lines[2] == "accuracy, mean ± standard deviation over seeds and folds, best on validation first."
    assert lines[6:] == [
        "| optimizer.lr=0.01 | 2 of 3 | 85.00 ± 7.07 % | 75.00 ± 7.07 % | 5.5 | 3 |",
        "| optimizer.lr=0.1 | 3 | 60.00 ± 10.00 % | 50.00 ± 10.00 % | 3.0 | 1 |",
    ]


def test_folds_repeat_a_configuration_as_seeds_do(tmp_path: Path) -> None:
    for number in range(4):
        job(tmp_path, number, [f"dataset.fold={number % 2}", f"seed={number // 2}"], 0.5)
    assert [(one.overrides, one.n) for one in configurations(leaderboard.write(tmp_path))] == [("", "4")]


def test_the_lowest_mean_loss_is_best(tmp_path: Path) -> None:
    job(tmp_path, 0, ["a=1", "seed=0"], 0.5, metric="loss")
    job(tmp_path, 1, ["a=2", "seed=0"], 0.7, metric="loss")
    assert [one.overrides for one in configurations(leaderboard.write(tmp_path))] == ["a=2", "a=1"]


def test_a_later_command_adds_seeds_to_the_same_configuration(tmp_path: Path) -> None:
    """Its words are in another order, and those of the whole sweep are others."""
    job(tmp_path, 0, ["a='x y'", "b=1", "seed=0", "name=s"], 0.5)
    job(tmp_path, 1, ["seed=1", "b=1", "a='x y'", "name=s", "resume=auto", "sweep.max_failures=3"], 0.7)
    (found,) = configurations(leaderboard.write(tmp_path))
    assert {found.overrides} <= {"a='x y' b=1", "b=1 a='x y'"} and found.n == "2"


def test_a_score_that_is_no_number_is_none(tmp_path: Path) -> None:
    for number, val in enumerate((0.5, float("nan"), 0.7, 0.6)):
        job(tmp_path, number, [f"a={number}"], val)
    rows = leaderboard.write(tmp_path)
    assert [row["val_accuracy"] for row in rows] == [0.7, 0.6, 0.5, None]
    assert [one.overrides for one in configurations(rows)] == ["a=2", "a=3", "a=0", "a=1"]


def test_nothing_completed_is_last_and_no_zero(tmp_path: Path) -> None:
    job(tmp_path, 0, ["a=1", "seed=0"], None)
    job(tmp_path, 1, ["a=2", "seed=0"], 0.1)
    found = configurations(leaderboard.write(tmp_path))
    assert [one.overrides for one in found] == ["a=2", "a=1"]
    assert found[1].cells("accuracy") == ["a=1", "0 of 1", "", "", "", ""]


def test_a_sweep_over_seeds_shows_configurations(command: Command) -> None:
    ended = command("-m", *TINY, "name=grid", "trainer.epochs=1", "optimizer.lr=1e-3,1e-4", "seed=0,1")
    assert ended.code == 0, ended.err
    assert "leaderboard over seeds" in ended.out
    table = Path("outputs/sweeps/grid/leaderboard.md").read_text()
    assert table.count("| 2 |") == 2 and " ± " in table
