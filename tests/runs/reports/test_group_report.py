"""The page of a folder of runs: who is first, what failed, and where each run's page is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.runs.reports.made import made
from tests.runs.reports.test_run_report import OUTSIDE, Page, cells
from transfer_cli.csv_files import write_csv
from transfer_cli.errors import UserError
from transfer_cli.runs.reports.group_report import leave_group_report, write_group_report

COLUMNS = ["overrides", "status", "val_accuracy", "test_accuracy", "seconds", "run_directory", "error"]


def swept(folder: Path, *rows: list[Any]) -> Page:
    write_csv(folder / "leaderboard.csv", COLUMNS, rows)
    write_group_report(folder)
    return Page(folder / "report.html")


def test_a_sweep_with_jobs_that_failed_and_seeds() -> None:
    folder = Path("outputs/sweeps/grid")
    rows = []
    for job, (rate, seed, accuracy) in enumerate([(1, 0, 0.9), (1, 1, 0.7), (2, 0, 0.6)]):
        scores = {"accuracy": accuracy, "loss": 1.0}
        run = made(folder / str(job), val=scores, test=scores)
        (run / "report.html").write_text("")
        words = f"+model.a=<b> optimizer.lr={rate} seed={seed}"
        rows.append([words, "completed", accuracy, accuracy, 2.0 + job, f"/elsewhere/{job}", None])
    rows.append(["+model.a=<b> optimizer.lr=3 seed=0", "failed", None, None, None, "/elsewhere/3", "too <large>"])
    made(folder / "4", val={"accuracy": 0.1, "loss": 9.0}, status="pruned")
    rows.append(["+model.a=<b> optimizer.lr=1 seed=2", "pruned", 0.1, None, 1.0, "/elsewhere/4", None])
    page = swept(folder, *rows)
    keys, costs = "What each key does", "What accuracy costs"
    assert page.headings == ["Leaderboard", "Over seeds and folds", keys, costs, "Failures", "Settings"]
    assert "optimizer.lr: means 60.0 % to 80.0 %" in page.text
    links = [found["href"] for tag, found in page.tags if tag == "a" and not str(found["href"]).startswith("#")]
    assert links == [f"{job}/report.html" for job in range(3)] * 2
    for words in ("optimizer.lr=1 seed=0", "80.00 % ± 14.14", "too <large>", "+model.a", "<b>"):
        assert words in page.text, words
    assert "'+model.a" not in page.text
    head, first, *_ = cells(page, 0)
    assert head == ["#", "what", "val accuracy", "test accuracy", "seconds", "trained", "parameters", "status"]
    assert first == ["1", "optimizer.lr=1 seed=0", "90.00 %", "90.00 %", "2.0", "10", "1,000", "completed"]
    assert cells(page, 1)[0] == [*head, "pages"]
    assert "https:" not in page.source


def test_jobs_that_all_differ_are_no_seeds_of_anything() -> None:
    folder = Path("outputs/sweeps/grid")
    for job in range(2):
        made(folder / str(job))
    page = swept(folder, *([f"a={job}", "completed", 0.8, 0.8, 1.5, f"/elsewhere/{job}", None] for job in range(2)))
    assert page.headings == ["Leaderboard", "What each key does", "What accuracy costs"]


def test_a_sweep_that_is_named_from_within_has_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Path("outputs/sweeps/grid")
    made(folder / "0")
    monkeypatch.chdir(folder)
    assert "<h1>grid</h1>" in swept(Path(), ["a=1", "completed", 0.8, 0.8, 1.5, "/elsewhere/0", None]).source


def test_a_comparison_shows_its_recommendation() -> None:
    folder = Path("outputs/compare/c")
    made(folder / "probe-seed0")
    spread = {"mean": 0.9, "deviation": 0.01}
    row = {"row": "probe", "completed": 1, "failed": 0, "val": spread, "test": None, "error": None}
    row |= {"seconds": {"mean": 2.0, "deviation": None}, "trainable_parameters": 10, "parameters": 100}
    lost = {**row, "row": "lora", "completed": 0, "failed": 1, "val": None, "seconds": None, "error": "no memory"}
    content = {"dataset": "fake", "model": "m", "metric": "accuracy", "seeds": [0], "rows": [row, lost]}
    content |= {
        "recommendation": {"reason": "probe is recommended"},
        "runs": [{"row": "probe", "seed": 0, "directory": "probe-seed0"}],
    }
    (folder / "compare.json").write_text(json.dumps(content))
    write_group_report(folder)
    page = Page(folder / "report.html")
    for words in ("probe is recommended", "90.00 % ± 1.00", "no memory"):
        assert words in page.text
    assert cells(page, 0) == [
        ["#", "what", "runs", "val accuracy", "seconds", "trained", "parameters", "status"],
        ["1", "probe", "1 of 1", "90.00 % ± 1.00", "2.0", "10", "100", "completed"],
        ["2", "lora", "0 of 0", "", "", "10", "100", "failed"],
    ]
    assert not OUTSIDE.search(page.source), "the run has no page, so nothing leads there"


def test_a_search_with_its_probes() -> None:
    folder = Path("outputs/auto/a")
    made(folder / "best")
    for model, accuracy in (("resnet18", 0.5), ("resnet50", 0.75)):
        made(folder / "probes" / model, val={"accuracy": accuracy, "loss": 1.0})
    decisions = {
        "backbones": ["gone", "resnet18", "resnet50"],
        "probe of gone": {"error": "no weights"},
        "plan": {"epochs": 3},
    }
    (folder / "auto.json").write_text(json.dumps({"budget": 60.0, "seconds_spent": 40.5, "decisions": decisions}))
    write_group_report(folder)
    page = Page(folder / "report.html")
    for words in ("no weights", "40.5 s", "best: finetune"):
        assert words in page.text
    assert [(row[1], row[-1]) for row in cells(page, 0)[2:]] == [
        ("probe of resnet50", "completed"),
        ("probe of resnet18", "completed"),
        ("probe of gone", "failed"),
    ]


@pytest.mark.parametrize("content", ["", "overrides,status\n", "a,b\n1,2\n", '{"runs": 3}'])
def test_a_damaged_folder_is_said_and_never_fails_a_sweep(tmp_path: Path, content: str) -> None:
    (tmp_path / "leaderboard.csv").write_text(content)
    if "a,b" in content:
        with pytest.raises(UserError, match=r"leaderboard.csv: damaged"):
            write_group_report(tmp_path)
    warnings: list[str] = []
    leave_group_report(tmp_path, warnings.append)
    assert len(warnings) == ("a,b" in content), "a leaderboard without a job has a page"


def test_a_folder_of_nothing() -> None:
    Path("empty").mkdir()
    with pytest.raises(UserError, match=r"sweep=empty: no folder of a sweep"):
        write_group_report(Path("empty"))
