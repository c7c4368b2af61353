"""Which runs conditions choose, in which order, and what is no condition."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from transfer_cli.errors import UserError
from transfer_cli.records.pages import list_page
from transfer_cli.rundir import saved_experiment
from transfer_cli.runs.reports.listing import (
    chosen,
    conditions,
    find_runs,
    ordered,
    record_of,
    sort_key,
    with_settings,
)

RECORDS: list[dict[str, Any]] = [
    {"run": "a", "status": "completed", "strategy": "finetune", "test.accuracy": 0.7, "cached": True, "lr": 0.1},
    {"run": "b", "status": "completed", "strategy": "extract", "test.accuracy": 0.8, "cached": False, "lr": "auto"},
    {"run": "c", "status": "completed", "strategy": "finetune", "test.accuracy": 0.9, "cached": False, "lr": 0.001},
    {"run": "begun", "status": "unfinished", "strategy": "finetune", "test.accuracy": None},
]


def names(records: list[dict[str, Any]]) -> str:
    return " ".join(record["run"] for record in records)


@pytest.mark.parametrize(
    ("where", "kept"),
    [
        (None, "a b c begun"),
        ("strategy=finetune", "a c begun"),
        ("strategy=finetune, test.accuracy >= 0.7", "a c"),
        ("strategy!=finetune", "b"),
        ("test.accuracy>0.7,test.accuracy<0.9", "b"),
        ("test.accuracy<=8e-1", "a b"),
        ("test.accuracy=0.70", "a"),
        ("test.accuracy == 0.7", "a"),
        ("test.accuracy=null", "begun"),
        ("test.accuracy!=null", "a b c"),
        ("cached=true", "a"),
        ("status~COMP", "a b c"),
        ("run>b", "c begun"),
        ("strategy=none", ""),
    ],
)
def test_conditions(where: str | None, kept: str) -> None:
    assert names(chosen(RECORDS, conditions(where))) == kept


@pytest.mark.parametrize(
    ("sort", "order"),
    [
        ("test.accuracy", "a b c begun"),
        ("-test.accuracy", "c b a begun"),
        ("lr", "c a b begun"),
        ("run", "a b begun c"),
        ("-strategy", "a begun c b"),
    ],
)
def test_orders(sort: str, order: str) -> None:
    assert names(ordered(RECORDS, *sort_key(sort))) == order


@pytest.mark.parametrize("where", ["good", "", "a=1,", ">0.5", "a b=1"])
def test_what_is_no_condition(where: str) -> None:
    with pytest.raises(UserError, match=r"is no condition; expected some such as"):
        conditions(where)


def test_a_number_is_compared_with_a_number() -> None:
    with pytest.raises(UserError, match=r"test.accuracy is compared with a number"):
        chosen(RECORDS, conditions("test.accuracy>high"))


def test_runs_are_found_wherever_they_are_and_damaged_ones_are_no_obstacle(tmp_path: Path) -> None:
    contents = {
        "runs/a": json.dumps({"status": "completed", "val": {"accuracy": 0.5}, "metric": "accuracy"}),
        "sweeps/s/0": "{",
        "auto/x/best": json.dumps({"val": "high", "metric": 3, "parameters": []}),
        "auto/x/best/inner": "{}",
    }
    for name, content in contents.items():
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "summary.json").write_text(content)
    (tmp_path / "runs" / "begun").mkdir()
    (tmp_path / "runs" / "begun" / "config.yaml").write_text("strategy: {name: extract}\nmodel: 3\nseed: 7\n")
    (tmp_path / "ranks" / "r").mkdir(parents=True)
    (tmp_path / "ranks" / "r" / "config.yaml").write_text("mode: rank\nstrategy: {name: finetune}\n")
    found = find_runs(tmp_path)
    assert [str(path.relative_to(tmp_path)) for path in found] == ["auto/x/best", "runs/a", "runs/begun", "sweeps/s/0"]
    records = [record_of(path) for path in found]
    assert [record["val"] for record in records] == [None, 0.5, None, None]
    assert (records[2]["status"], records[2]["strategy"], records[2]["seed"]) == ("unfinished", "extract", 7)
    assert with_settings(records, {"strategy.name": "report.where"})[2]["strategy.name"] == "extract"
    with pytest.raises(UserError, match=r"report.sort=vall: no run has a key vall. Did you mean val"):
        with_settings(records, {"vall": "report.sort=vall"})


@pytest.mark.parametrize(
    "text", ["[" * 100_000, '{"metric": ["x"]}', '{"train_seconds": 1' + "0" * 400 + "}", '{"train_seconds": NaN}']
)
def test_a_strange_summary_is_no_obstacle(tmp_path: Path, text: str) -> None:
    for name, content in (("a", text), ("b", '{"train_seconds": 2.5}'), ("c", '{"train_seconds": 1.5}')):
        (tmp_path / name).mkdir()
        (tmp_path / name / "summary.json").write_text(content)
    records = [record_of(tmp_path / name) for name in "abc"]
    found = [Path(record["run"]).name for record in ordered(records, "train_seconds", True)]
    assert [name for name in found if name != "a"] == ["b", "c"]
    assert [list_page.cell(record, "train_seconds") for record in records][1:] == ["2.5", "1.5"]


def test_strange_settings_are_no_obstacle(tmp_path: Path) -> None:
    for text in ("date: 2020-13-45", "[" * 5000):
        (tmp_path / "config.yaml").write_text(text)
        assert record_of(tmp_path)["status"] == "unfinished"
        with pytest.raises(UserError, match=r"config.yaml cannot be read"):
            saved_experiment(tmp_path)
