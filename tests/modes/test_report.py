"""mode=report as a user gives it: lists by condition and in order, pages, and what is wrong with a command."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Ended, experiment
from tests.runs.reports.made import made
from tests.runs.reports.test_group_report import COLUMNS
from transfer_cli.config.parse import config_hash
from transfer_cli.csv_files import write_csv

Command = Callable[..., Ended]


def scores(accuracy: float) -> dict[str, float]:
    return {"accuracy": accuracy, "loss": 1 - accuracy}


@pytest.fixture
def runs() -> None:
    """Three runs, the second in a sweep, and one that has begun."""
    made(Path("outputs/runs/a"), "optimizer.lr=0.1", test=scores(0.7), val=scores(0.9))
    made(Path("outputs/sweeps/s/0"), "strategy=extract", "optimizer.lr=0.01", test=scores(0.8), val=scores(0.8))
    made(Path("outputs/runs/ccc"), "optimizer.lr=0.001", test=scores(0.9), val=scores(0.7), train_seconds=100.0)
    (made(Path("outputs/runs/begun"), "optimizer.lr=0.005") / "summary.json").unlink()


def listed(ended: Ended) -> list[str]:
    assert ended.code == 0, ended.err
    return ended.out.splitlines()


@pytest.mark.usefixtures("runs")
def test_runs_are_chosen_and_sorted(command: Command) -> None:
    found = listed(command("mode=report", "quiet=true"))
    assert {*found} == {f"outputs/{name}" for name in ("runs/a", "runs/begun", "runs/ccc", "sweeps/s/0")}
    words = ["report.where=optimizer.lr<=0.01,status=completed", "report.sort=-test.accuracy"]
    assert listed(command("mode=report", "quiet=true", *words)) == ["outputs/runs/ccc", "outputs/sweeps/s/0"]


@pytest.mark.usefixtures("runs")
def test_a_table_fits_a_pipe(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    made(Path("outputs/runs/2026-01-01_00-00-00_finetune_efficientnet_lite0_caltech101"))
    found = listed(command("mode=report", "report.sort=-test.accuracy"))
    assert found[0] == "5 runs in outputs"
    assert found[1].split()[:5] == ["run", "val", "%", "test", "%"]
    assert all(len(line) <= 80 for line in found)
    assert "\x1b" not in "".join(found)
    # Too narrow for any score beside the names: a line a value.
    monkeypatch.setenv("COLUMNS", "40")
    found = listed(command("mode=report", "report.where=run~2026"))
    assert [line.split()[0] for line in found[2:5]] == ["run", "val", "test"]


@pytest.mark.usefixtures("runs")
def test_csv_has_every_score_and_what_was_asked_for(command: Command) -> None:
    ended = command("mode=report", "format=csv", "report.where=optimizer.lr<1", "report.sort=test")
    rows = list(csv.DictReader(io.StringIO(ended.out)))
    assert [row["run"] for row in rows] == [
        *("outputs/runs/a", "outputs/sweeps/s/0", "outputs/runs/ccc"),
        "outputs/runs/begun",
    ]
    assert (rows[0]["test.loss"], rows[0]["optimizer.lr"], rows[0]["parameters.total"]) == (
        "0.30000000000000004",
        "0.1",
        "1000",
    )
    assert listed(command("mode=report", "output=list.csv"))[-1] == "list.csv"
    assert len(Path("list.csv").read_text().splitlines()) == 5


@pytest.mark.usefixtures("runs")
def test_a_page_of_all_runs_leads_to_theirs(command: Command) -> None:
    assert command("mode=report", "run=[outputs/runs/a,outputs/runs/ccc]").code == 0
    assert listed(command("mode=report", "format=page")) == ["outputs/report.html"]
    page = Path("outputs/report.html").read_text()
    assert 'href="runs/a/report.html"' in page and "sweeps/s/0/report.html" not in page
    assert listed(command("mode=report", "output=list.html")) == ["list.html"]
    assert 'href="outputs/runs/a/report.html"' in Path("list.html").read_text()


@pytest.mark.usefixtures("runs")
def test_the_page_of_a_sweep_makes_those_of_its_runs(command: Command) -> None:
    folder = Path("outputs/sweeps/s")
    write_csv(folder / "leaderboard.csv", COLUMNS, [["seed=0", "completed", 0.8, 0.8, 1.5, "/elsewhere/0", None]])
    assert listed(command("mode=report", f"sweep={folder}")) == [str(folder / "report.html")]
    assert 'href="0/report.html"' in (folder / "report.html").read_text()
    assert (folder / "0" / "report.html").is_file()


@pytest.mark.usefixtures("runs")
def test_what_a_run_lacks_is_said(command: Command) -> None:
    Path("outputs/runs/a/predictions.csv").unlink()
    out = listed(command("mode=report", "run=outputs/runs/a"))
    assert out[0].startswith("warning: outputs/runs/a: predictions.csv is missing")
    assert out[-1] == "outputs/runs/a/report.html"


@pytest.mark.usefixtures("runs")
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["report.where=tst.accuracy>0.9"], "no run has a key tst.accuracy. Did you mean test.accuracy"),
        (["report.sort=-acuracy"], "report.sort=-acuracy: no run has a key acuracy."),
        (["report.where=good"], "'good' is no condition; expected some such as"),
        (["format=jsonl"], "mode=report writes table, csv, page"),
        (["run=outputs/runs"], "no run directory"),
        (["run=outputs/runs/a", "sweep=outputs/sweeps/s"], "run, sweep: one of the two"),
        (["run=outputs/runs/a", "report.sort=val"], "only read where mode=report lists runs"),
        (["sweep=outputs/sweeps/s"], "no folder of a sweep"),
        (["output_dir=none"], "output_dir=none: no such folder"),
        (["output=list.txt"], "a table goes to the terminal"),
        (["mode=train", "sweep=x"], "sweep=x: only mode=soup and mode=report read sweep."),
    ],
)
def test_wrong_words(command: Command, words: list[str], said: str) -> None:
    before = sorted(Path().rglob("*"))
    ended = command("mode=report", *words) if "mode=train" not in words else command(*words)
    assert ended.code == 2
    assert said in ended.err
    assert len(ended.err.splitlines()) == 1
    assert sorted(Path().rglob("*")) == before


def test_a_report_is_no_part_of_what_a_run_is() -> None:
    asked = experiment("mode=report", "report.where=val>0.5", "report.sort=val", "format=page")
    assert config_hash(asked) == config_hash(experiment())


@pytest.mark.parametrize(
    "content",
    [
        "",
        "status\n",
        "overrides,status\n",
        'overrides\n"' + "x" * 200_000 + '"\n',
        "overrides,status,seconds,run_directory,error\nseed=0,completed,inf,s/0,\n",
        "overrides,status,seconds,run_directory,error\nseed=0,completed,-inf,s/0,\n",
        "overrides,status,seconds,run_directory,error\nseed=0,completed,x,s/0,\n",
    ],
)
def test_a_leaderboard_that_no_sweep_leaves(command: Command, content: str) -> None:
    folder = Path("outputs/sweeps/s")
    made(folder / "0")
    (folder / "leaderboard.csv").write_text(content)
    for words in ([], ["sweep.objectives=[accuracy,train_seconds]"]):
        ended = command("mode=report", f"sweep={folder}", *words)
        assert ended.code in (0, 2), ended.err
        assert ended.code == 0 or str(folder) in ended.err
