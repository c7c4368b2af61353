"""The front of a sweep: of configurations and not of jobs, in its files and on its page, and of runs that are there."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Ended
from tests.runs.reports.made import made
from tests.runs.reports.test_run_report import Page, cells
from transfer_cli.records.terminal import Reporter
from transfer_cli.runs.reports.group_report import write_group_report
from transfer_cli.runs.reports.pareto import front_of
from transfer_cli.sweeps import leaderboard

Command = Callable[..., Ended]
FOLDER = Path("outputs/sweeps/grid")
WEIGHED = ("accuracy", "parameters")


def job(number: int, words: str, accuracy: float | None, parameters: int, **summary: Any) -> None:
    run = made(
        FOLDER / str(number),
        val={"accuracy": accuracy, "macro_f1": accuracy, "loss": 1.0},
        parameters={"total": parameters, "trainable": 10},
        **summary,
    )
    code = 3 if summary.get("status") == "failed" else 0
    ended = {"overrides": words.split(), "exit_code": code, "seconds": 1.0}
    (run / "job.json").write_text(json.dumps(ended))
    (run / "report.html").write_text("")
    (run / "model.safetensors").write_bytes(b"x" * 4 * parameters)


@pytest.fixture
def sweep() -> None:
    """The best on accuracy, a small one over two seeds, one that both beat, and jobs that failed or scored nothing."""
    job(0, "model=a seed=0", 0.9, 2000)
    job(1, "model=b seed=0", 0.9, 500)
    job(2, "model=b seed=1", 0.7, 500)
    job(3, "model=c seed=0", 0.75, 1500)
    job(4, "model=d seed=0", 0.99, 1, status="failed")
    job(5, "model=e seed=0", None, 1)
    job(6, "model=f seed=0", 0.1, 500)


@pytest.mark.usefixtures("sweep")
def test_the_front_is_of_configurations_that_completed() -> None:
    rows = leaderboard.write(FOLDER, WEIGHED)
    found = front_of(FOLDER, rows, WEIGHED)
    assert found is not None
    assert [(one.overrides, one.values, one.completed, one.best) for one in found.best] == [
        ("model=a", (0.9, 2000), 1, "0"),
        ("model=b", (pytest.approx(0.8), 500), 2, "1"),
    ]
    content = json.loads((FOLDER / "pareto.json").read_text())
    assert content["objectives"] == {"accuracy": "maximize", "parameters": "minimize"}
    by_words = {one["overrides"]: one for one in content["configurations"]}
    assert [name for name, one in by_words.items() if one["front"]] == ["model=a", "model=b"]
    assert by_words["model=d"] == {
        "overrides": "model=d",
        "jobs": 1,
        "completed": 0,
        "accuracy": None,
        "parameters": None,
        "front": False,
        "best_job": None,
    }


@pytest.mark.usefixtures("sweep")
def test_tables_mark_it_and_name_what_they_do_not_show_already(capsys: pytest.CaptureFixture[str]) -> None:
    rows = leaderboard.write(FOLDER, ("accuracy", "macro_f1", "parameters"))
    lines = (FOLDER / "leaderboard.md").read_text().splitlines()
    assert lines[6] == "| overrides | n | val | test | val macro_f1 | parameters | front | seconds | best job |"
    assert lines[8:11] == [
        "| model=a | 1 | 90.00 % | 87.50 % | 90.00 % | 2,000 | yes | 1.0 | 0 |",
        "| model=b | 2 | 80.00 ± 14.14 % | 87.50 ± 0.00 % | 80.00 % | 500 | yes | 1.0 | 1 |",
        "| model=c | 1 | 75.00 % | 87.50 % | 75.00 % | 1,500 |  | 1.0 | 3 |",
    ]
    leaderboard.show(rows, Reporter(quiet=False), front_of(FOLDER, rows))
    shown = capsys.readouterr().out.splitlines()
    assert " ".join(shown[1].split()) == "overrides n val test val macro_f1 parameters front seconds best job"
    assert "yes" in shown[3] and "yes" in shown[4] and "yes" not in "".join(shown[5:])


def test_tables_are_whole_where_a_job_failed_before_it_had_a_metric(capsys: pytest.CaptureFixture[str]) -> None:
    job(0, "model=a", 0.9, 2000, metric="macro_f1")
    job(1, "model=b", None, 1, metric=None, status="failed")
    rows = leaderboard.write(FOLDER, ("macro_f1", "parameters"))
    table = (FOLDER / "leaderboard.md").read_text().splitlines()[6:]
    assert [line.count("|") for line in table] == [table[0].count("|")] * 4
    leaderboard.show(rows, Reporter(quiet=False), front_of(FOLDER, rows))
    shown = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert shown[1] == ["job", "status", "val", "test", "parameters", "front", "seconds"]
    assert shown[-1] == ["1", "failed", "87.50", "%", "1.0"]


@pytest.mark.usefixtures("sweep")
def test_a_sweep_keeps_the_front_that_it_was_given_once() -> None:
    leaderboard.write(FOLDER)
    assert not (FOLDER / "pareto.json").exists() and "front" not in (FOLDER / "leaderboard.md").read_text()
    leaderboard.write(FOLDER, WEIGHED)
    job(7, "model=g seed=0", 0.95, 400)
    leaderboard.write(FOLDER)
    content = json.loads((FOLDER / "pareto.json").read_text())
    assert [one["overrides"] for one in content["configurations"] if one["front"]] == ["model=g"]


@pytest.mark.parametrize("content", ["[]", "{", '{"objectives": ["accuracy"]}', '{"objectives": {"x": 1, "y": 2}}'])
@pytest.mark.usefixtures("sweep")
def test_a_file_of_another_kind_names_no_objectives(content: str) -> None:
    (FOLDER / "pareto.json").write_text(content)
    assert front_of(FOLDER, leaderboard.write(FOLDER)) is None


@pytest.mark.usefixtures("sweep")
def test_the_page_shows_it() -> None:
    leaderboard.write(FOLDER, ("accuracy", "parameters", "model_bytes"))
    write_group_report(FOLDER)
    page = Page(FOLDER / "report.html")
    assert page.headings[:3] == ["Leaderboard", "Over seeds and folds", "Pareto front"]
    assert cells(page, 2)[:4] == [
        ["#", "what", "val accuracy", "parameters", "model bytes", "front"],
        ["1", "model=a", "90.00 %", "2,000", "8 kB", "on the front"],
        ["2", "model=b", "80.00 %", "500", "2 kB", "on the front"],
        ["3", "model=c", "75.00 %", "1,500", "6 kB", ""],
    ]
    for pair in ("accuracy over parameters", "accuracy over model bytes", "parameters over model bytes"):
        assert f"{pair} of 4 configurations, 2 on the front" in page.source, pair
    assert (FOLDER / "pareto.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.usefixtures("sweep")
def test_a_report_weighs_runs_that_are_there(command: Command) -> None:
    leaderboard.write(FOLDER)
    ended = command("mode=report", f"sweep={FOLDER}", "sweep.objectives=[accuracy,parameters]")
    assert ended.code == 0, ended.err
    assert ended.out.splitlines()[0] == "front of accuracy, parameters: 2 of 6 configurations"
    assert (FOLDER / "pareto.png").is_file() and "Pareto front" in (FOLDER / "report.html").read_text()
    before = (FOLDER / "pareto.json").read_bytes()
    ended = command("mode=report", f"sweep={FOLDER}", "sweep.objectives=[auroc,parameters]")
    assert ended.code == 2 and "no completed job has all of" in ended.err and "none has auroc" in ended.err
    assert (FOLDER / "pareto.json").read_bytes() == before


def test_only_a_sweep_has_a_front(command: Command) -> None:
    folder = Path("outputs/compare/c")
    folder.mkdir(parents=True)
    (folder / "compare.json").write_text("{}")
    ended = command("mode=report", f"sweep={folder}", "sweep.objectives=[accuracy,parameters]")
    assert ended.code == 2 and "it has no leaderboard.csv" in ended.err
    assert [*folder.iterdir()] == [folder / "compare.json"]
