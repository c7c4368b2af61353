"""The report on sweeps made again: from what the jobs hold, of one folder or of several, and nothing is lost by it."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Ended
from tests.runs.reports.made import made
from transfer_cli.sweeps import leaderboard

Command = Callable[..., Ended]
A, B = Path("outputs/sweeps/a"), Path("outputs/sweeps/b")


def job(folder: Path, name: str, words: str, accuracy: float) -> None:
    run = made(folder / name, val={"accuracy": accuracy, "loss": 1.0}, test={"accuracy": accuracy, "loss": 1.0})
    (run / "job.json").write_text(json.dumps({"overrides": words.split(), "exit_code": 0, "seconds": 2.0}))
    (run / "report.html").write_text("")


@pytest.fixture
def sweeps() -> None:
    """Rates over two seeds in one folder, a third seed of the better one in another."""
    for number, (rate, seed, accuracy) in enumerate([(1, 0, 0.9), (1, 1, 0.8), (2, 0, 0.6), (2, 1, 0.7)]):
        job(A, f"job{number}", f"optimizer.lr={rate} seed={seed}", accuracy)
    job(B, "job0", "optimizer.lr=1 seed=2", 0.7)
    for folder in (A, B):
        leaderboard.write(folder)


def rows(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text().splitlines()))


@pytest.mark.usefixtures("sweeps")
def test_a_leaderboard_that_is_lost_or_old_is_made_again(command: Command) -> None:
    kept = {name: (A / name).read_bytes() for name in ("leaderboard.csv", "leaderboard.md")}
    (A / "leaderboard.csv").unlink()
    (A / "leaderboard.md").write_text("old")
    ended = command("mode=report", f"sweep={A}")
    assert ended.code == 0, ended.err
    assert {name: (A / name).read_bytes() for name in kept} == kept
    assert "leaderboard over seeds and folds" in ended.out
    assert ended.out.splitlines()[-1] == str(A / "report.html")


@pytest.mark.usefixtures("sweeps")
def test_jobs_of_which_the_leaderboard_alone_is_left_stay_in_it(command: Command) -> None:
    before = (A / "leaderboard.csv").read_bytes()
    shutil.rmtree(A / "job3")
    ended = command("mode=report", f"sweep={A}")
    assert ended.code == 0, ended.err
    assert (
        "1 job of its leaderboard.csv has no directory any more (job3), so it stays as it is." in ended.err + ended.out
    )
    assert (A / "leaderboard.csv").read_bytes() == before
    assert "70.00" in (A / "report.html").read_text()


@pytest.mark.usefixtures("sweeps")
def test_several_are_reported_on_together(command: Command) -> None:
    ended = command("mode=report", f"sweep=[{A},{B}]")
    assert ended.code == 0, ended.err
    target = Path("outputs/reports/a+b")
    assert ended.out.splitlines()[-1] == str(target / "report.html")
    assert [row["run_directory"] for row in rows(target / "leaderboard.csv")] == [
        *(f"outputs/sweeps/a/job{number}" for number in (0, 1)),
        *("outputs/sweeps/a/job3", "outputs/sweeps/b/job0", "outputs/sweeps/a/job2"),
    ]
    assert "| optimizer.lr=1 | 3 | 80.00 ± 10.00 % |" in (target / "leaderboard.md").read_text()
    page = (target / "report.html").read_text()
    assert 'href="../../sweeps/b/job0/report.html"' in page
    assert "80.00 % ± 10.00" in page
    again = command("mode=report", f"sweep={target}")
    assert again.code == 0
    assert 'href="../../sweeps/b/job0/report.html"' in (target / "report.html").read_text(), "made again by itself"
    named = command("mode=report", f"sweep=[{A},{B}]", "name=both")
    assert named.out.splitlines()[-1] == "outputs/reports/both/report.html"


@pytest.mark.usefixtures("sweeps")
@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([f"sweep=[{A},{A}/]"], f"sweep=[{A},{A}/]: each sweep once."),
        (["sweep=[]"], "sweep=[]: name the folders of the sweeps"),
        ([f"sweep=[{A},outputs]"], "sweep=outputs: no folder of a sweep with its jobs"),
        ([f"sweep=[{A},outputs/sweeps/c]"], "sweep=outputs/sweeps/c: no such file or folder."),
        ([f"sweep=[{A},{B}]", "sweep.objectives=[accuracy,parameters]"], "name one folder."),
        (["mode=soup", f"sweep=[{A},{B}]"], "only mode=report takes several sweeps."),
    ],
)
def test_wrong_words(command: Command, words: list[str], said: str) -> None:
    before = sorted(Path().rglob("*"))
    ended = command(*words) if words[0] == "mode=soup" else command("mode=report", *words)
    assert ended.code == 2
    assert said in ended.err
    assert len(ended.err.splitlines()) == 1
    assert sorted(Path().rglob("*")) == before
